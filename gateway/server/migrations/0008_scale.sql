-- What several devices get alike lies here once: the Welcome and tree of a bulk add (M10).
CREATE TABLE inbox_shared (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- A row with `shared` has an empty body of its own.
ALTER TABLE inbox ADD COLUMN shared INTEGER REFERENCES inbox_shared (id);
CREATE INDEX inbox_by_shared ON inbox (shared) WHERE shared IS NOT NULL;

-- Audiences after a bulk add: whose way to the root is being renewed, and which subtree is asked next (M9).
CREATE TABLE warm_up (
  audience BLOB PRIMARY KEY NOT NULL REFERENCES audience (id),
  device BLOB NOT NULL,
  level INTEGER NOT NULL,
  asked_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
