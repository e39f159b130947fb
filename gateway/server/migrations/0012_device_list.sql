-- Audiences of apps that seal by themselves (K17). In their rows `epoch` is the version in force, `tree_hash` the hash of
-- the list, `state` is empty, and nobody is in `member`.
ALTER TABLE audience ADD COLUMN kind TEXT NOT NULL DEFAULT 'group';

-- The signed lists: the version in force, and earlier ones while a story names them.
CREATE TABLE device_list (
  audience BLOB NOT NULL REFERENCES audience (id),
  version INTEGER NOT NULL,
  person BLOB NOT NULL,
  signed BLOB NOT NULL,
  PRIMARY KEY (audience, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_list_by_person ON device_list (person);

-- A row with `cti` has an empty body: its ciphertext lies in the story's row, with its key.
ALTER TABLE inbox ADD COLUMN cti BLOB REFERENCES story (cti);
CREATE INDEX inbox_by_story ON inbox (cti) WHERE cti IS NOT NULL;
