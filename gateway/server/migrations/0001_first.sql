-- Ids are 16-byte blobs, digests 32-byte blobs, times Unix seconds.

-- People: names and addresses live here and nowhere else (K28).
CREATE TABLE person (
  id BLOB PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  address TEXT,
  created_s INTEGER NOT NULL,
  revoked_s INTEGER
) STRICT;

CREATE TABLE directory_group (
  name TEXT PRIMARY KEY NOT NULL,
  created_s INTEGER NOT NULL
) STRICT;

CREATE TABLE person_group (
  person BLOB NOT NULL REFERENCES person (id),
  name TEXT NOT NULL REFERENCES directory_group (name) ON DELETE CASCADE,
  PRIMARY KEY (person, name)
) STRICT, WITHOUT ROWID;

-- Enrollment tokens: only their hash (E1).
CREATE TABLE token (
  id BLOB PRIMARY KEY NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  person BLOB NOT NULL REFERENCES person (id),
  class TEXT NOT NULL,
  created_s INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  used_s INTEGER,
  revoked_s INTEGER
) STRICT;

CREATE TABLE key_package (
  id INTEGER PRIMARY KEY NOT NULL,
  device BLOB NOT NULL,
  last_resort INTEGER NOT NULL,
  digest BLOB NOT NULL UNIQUE,
  package BLOB NOT NULL
) STRICT;
CREATE INDEX key_package_by_device ON key_package (device, last_resort, id);

-- Audiences: the gateway's keyless view of an MLS group.
CREATE TABLE audience (
  id BLOB PRIMARY KEY NOT NULL,
  epoch INTEGER NOT NULL,
  tree_hash BLOB NOT NULL,
  class TEXT NOT NULL,
  state BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  removal_pending INTEGER NOT NULL
) STRICT;

-- A device's stay: items with joined < sequence <= left are its own (K15).
CREATE TABLE member (
  audience BLOB NOT NULL REFERENCES audience (id),
  device BLOB NOT NULL,
  leaf INTEGER NOT NULL,
  joined INTEGER NOT NULL,
  left_at INTEGER,
  PRIMARY KEY (audience, device, joined)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_by_device ON member (device, audience);

CREATE TABLE audience_log (
  audience BLOB NOT NULL REFERENCES audience (id),
  sequence INTEGER NOT NULL,
  kind TEXT NOT NULL,
  at_s INTEGER NOT NULL,
  message BLOB,
  cti BLOB,
  PRIMARY KEY (audience, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX audience_log_by_cti ON audience_log (cti) WHERE cti IS NOT NULL;

-- Stories: held -> deliverable -> expired | revoked (K12). A row without ciphertext keeps the id spent (C1).
CREATE TABLE story (
  cti BLOB PRIMARY KEY NOT NULL,
  device BLOB NOT NULL,
  audience BLOB NOT NULL REFERENCES audience (id),
  epoch INTEGER NOT NULL,
  state TEXT NOT NULL,
  envelope_digest BLOB NOT NULL,
  clearance_digest BLOB NOT NULL,
  entry BLOB NOT NULL,
  at_s INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  forget_s INTEGER NOT NULL,
  sequence INTEGER,
  acceptance BLOB,
  wrapped_key BLOB,
  envelope BLOB,
  clearance BLOB
) STRICT;
CREATE INDEX story_by_expiry ON story (state, expires_s);

CREATE TABLE blob (
  digest BLOB PRIMARY KEY NOT NULL,
  object BLOB NOT NULL UNIQUE,
  device BLOB NOT NULL,
  size_bytes INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  wrapped_key BLOB NOT NULL,
  cti BLOB REFERENCES story (cti)
) STRICT;
CREATE INDEX blob_by_story ON blob (cti);
CREATE INDEX blob_by_expiry ON blob (expires_s);

CREATE TABLE inbox (
  device BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  at_s INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (device, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE inbox_end (
  device BLOB PRIMARY KEY NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
  id BLOB PRIMARY KEY NOT NULL,
  device BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  received_s INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX event_by_device ON event (device, sequence);

CREATE TABLE bundle (
  version INTEGER PRIMARY KEY NOT NULL,
  digest BLOB NOT NULL UNIQUE,
  log_index INTEGER NOT NULL,
  activated_s INTEGER NOT NULL,
  bytes BLOB NOT NULL
) STRICT;

-- Since when a device has been known to hold a version (K20).
CREATE TABLE policy_ack (
  device BLOB PRIMARY KEY NOT NULL,
  version INTEGER NOT NULL,
  at_s INTEGER NOT NULL
) STRICT;

-- The wall clock against the boot clock, as last seen (K19).
CREATE TABLE clock (
  id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
  boot_id TEXT NOT NULL,
  wall_s INTEGER NOT NULL,
  boot_s INTEGER NOT NULL
) STRICT;
