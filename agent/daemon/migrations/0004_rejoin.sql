-- External commits on their way: an audience that this device joins again. The same bytes may be sent twice, and the
-- MLS state that is stored beside them is of the epoch that they begin.
CREATE TABLE rejoining (
    audience BLOB PRIMARY KEY NOT NULL,
    value    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
