-- What its owner must learn (K8): a device in their name, a member of an audience of theirs. Kept until it is
-- acknowledged, over restarts. AUTOINCREMENT: a position that was acknowledged is never used again.
CREATE TABLE notice (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id       BLOB NOT NULL UNIQUE,
    at_s     INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;

-- When this device last committed in an audience, and with that renewed its keys (M12).
CREATE TABLE renewal (
    audience BLOB PRIMARY KEY NOT NULL,
    at_s     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
