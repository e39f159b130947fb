-- Apps that seal by themselves (A12, K17). `value` is encrypted under the state key, `about` and `content` under the
-- key of the story's expiry bucket.

-- Device lists that an app of this device defined, or that came with a story.
CREATE TABLE device_list (
    id    BLOB PRIMARY KEY NOT NULL,
    app   TEXT NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Stories that arrived for an app. The row outlives its content until the story's end, so that nothing comes twice.
CREATE TABLE foreign_story (
    cti           BLOB PRIMARY KEY NOT NULL,
    app           TEXT NOT NULL,
    received_at_s INTEGER NOT NULL,
    expires_at_s  INTEGER NOT NULL,
    bucket        INTEGER NOT NULL,
    about         BLOB,
    content       BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX foreign_story_by_expiry ON foreign_story (expires_at_s);

-- Stories that an app of this device sent, by the receipt that was used for each: what waits for the gateway's answer,
-- or the answer.
CREATE TABLE foreign_sent (
    receipt  BLOB PRIMARY KEY NOT NULL,
    cti      BLOB NOT NULL UNIQUE,
    app      TEXT NOT NULL,
    at_s     INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    value    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
