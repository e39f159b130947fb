-- Until when stories that ended may have been forgotten, Unix seconds: the ledger's entries about them name no row.
ALTER TABLE mark ADD COLUMN forgotten_s INTEGER NOT NULL DEFAULT 0;
