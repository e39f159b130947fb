-- Events that the gateway does not take, or that cannot be read: kept, told, never dropped silently (S6, S9). `cause` is
-- the gateway's code, or `damaged`; `body` is as it was in `event`.
CREATE TABLE dead_event (
    seq   INTEGER PRIMARY KEY NOT NULL,
    id    BLOB NOT NULL UNIQUE,
    at_s  INTEGER NOT NULL,
    cause TEXT NOT NULL,
    body  BLOB NOT NULL
) STRICT;
