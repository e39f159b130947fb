-- What a crash can leave half done, and where in the ledger to look for its entry.

-- Sizes of the ledger. `held_from`: when the newest stories were held; their entries come no earlier. `done_from`: when
-- the newest change of a group was carried out; an entry of such a change that comes later had no effect.
CREATE TABLE mark (
  id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
  held_from INTEGER NOT NULL,
  done_from INTEGER NOT NULL
) STRICT;

-- Entries that the ledger must get. With `directory_index`: once the directory log has an entry there; without: at once.
CREATE TABLE intent (
  entry BLOB PRIMARY KEY NOT NULL,
  ledger_from INTEGER NOT NULL,
  directory_index INTEGER,
  record TEXT NOT NULL
) STRICT;

-- An event is held until its entry is in the ledger, which comes no earlier than here.
ALTER TABLE event ADD COLUMN held_from INTEGER;
CREATE INDEX event_held ON event (held_from) WHERE held_from IS NOT NULL;
