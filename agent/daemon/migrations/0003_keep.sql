-- Apps of this device that may ask for verdicts. The value (program file, its digest, the digest
-- of the credential) is encrypted.
CREATE TABLE app (
    id    TEXT PRIMARY KEY NOT NULL,
    at_s  INTEGER NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Receipts that were used; each is forgotten once it would have expired anyway.
CREATE TABLE spent_receipt (
    id           BLOB PRIMARY KEY NOT NULL,
    expires_at_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Until when a draft that its author discarded can be taken back; none: it was not discarded.
ALTER TABLE pending ADD COLUMN restorable_until_s INTEGER;
