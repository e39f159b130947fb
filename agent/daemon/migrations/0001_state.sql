-- State of one agent. `value`, `content` and `body` columns are encrypted per record under the
-- state key or under an expiry key; the rest are ids, numbers and times.

CREATE TABLE mls_record (
    key   BLOB PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The directory log as it was followed, so that it need not be fetched twice.
CREATE TABLE directory_entry (
    position INTEGER PRIMARY KEY NOT NULL,
    entry    BLOB NOT NULL
) STRICT;

CREATE TABLE audience (
    id     BLOB PRIMARY KEY NOT NULL,
    cursor INTEGER NOT NULL,
    state  TEXT NOT NULL,
    value  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE story (
    cti           BLOB PRIMARY KEY NOT NULL,
    audience      BLOB NOT NULL,
    received_at_s INTEGER NOT NULL,
    expires_at_s  INTEGER NOT NULL,
    bucket        INTEGER NOT NULL,
    state         TEXT NOT NULL,
    own           INTEGER NOT NULL,
    content       BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX story_by_expiry ON story (state, expires_at_s);

-- What was sealed and not yet answered: bytes that may be sent again as they are (K13).
CREATE TABLE outgoing (
    cti   BLOB PRIMARY KEY NOT NULL,
    at_s  INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Drafts made while the gateway could not be reached.
-- The content goes when they are decided; the state stays for a month.
CREATE TABLE pending (
    id    BLOB PRIMARY KEY NOT NULL,
    at_s  INTEGER NOT NULL,
    state TEXT NOT NULL,
    story BLOB,
    value BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id       BLOB NOT NULL UNIQUE,
    at_s     INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;

-- Events on their way to the gateway. AUTOINCREMENT: a sequence number is never used twice.
CREATE TABLE event (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    id   BLOB NOT NULL UNIQUE,
    at_s INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Files that the outbox took into `processing/`, and what became of them.
CREATE TABLE claim (
    id       BLOB PRIMARY KEY NOT NULL,
    at_s     INTEGER NOT NULL,
    value    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
