-- Commits of this device that are on their way: the same bytes are sent again until they are answered. The MLS state
-- that is stored beside them is of the epoch that they end.
CREATE TABLE committing (
    audience BLOB PRIMARY KEY NOT NULL,
    value    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
