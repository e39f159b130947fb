-- In which order the events of a device came, and the digest that the next one names (S3); none: no chain was kept.
ALTER TABLE event ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN digest BLOB;
DROP INDEX event_by_device;
CREATE INDEX event_by_place ON event (device, place, sequence);
