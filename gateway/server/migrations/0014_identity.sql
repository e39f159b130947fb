-- Tokens of several uses, bound to a machine (digests), or that need an administrator's approval (E1).
ALTER TABLE token ADD COLUMN uses_max INTEGER NOT NULL DEFAULT 1;
ALTER TABLE token ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE token ADD COLUMN host BLOB;
ALTER TABLE token ADD COLUMN serial BLOB;
ALTER TABLE token ADD COLUMN approval INTEGER NOT NULL DEFAULT 0;
UPDATE token SET uses = 1 WHERE used_s IS NOT NULL;

-- Enrollments, by the digest of their request, so that one which comes again is answered alike:
-- waiting -> approved | denied, approved -> done.
CREATE TABLE enrollment (
  request BLOB PRIMARY KEY NOT NULL,
  token BLOB NOT NULL REFERENCES token (id),
  device BLOB NOT NULL,
  person BLOB NOT NULL REFERENCES person (id),
  class TEXT NOT NULL,
  key BLOB NOT NULL,
  csr TEXT NOT NULL,
  at_s INTEGER NOT NULL,
  state TEXT NOT NULL,
  certificate TEXT
) STRICT;
CREATE INDEX enrollment_by_state ON enrollment (state, at_s);

-- TLS keys of devices (E4): generation 1, 2, ... The newest keeps its certificate, for an answer that was lost.
CREATE TABLE certificate (
  device BLOB NOT NULL,
  generation INTEGER NOT NULL,
  serial BLOB NOT NULL UNIQUE,
  key BLOB NOT NULL UNIQUE,
  csr BLOB NOT NULL,
  ends_s INTEGER NOT NULL,
  pem TEXT,
  PRIMARY KEY (device, generation)
) STRICT, WITHOUT ROWID;

-- Devices whose identity was used in two places (E7). A released one renews once from whichever of its certificates.
CREATE TABLE quarantine (
  device BLOB PRIMARY KEY NOT NULL,
  cause TEXT NOT NULL,
  since_s INTEGER NOT NULL,
  released_s INTEGER
) STRICT;

-- Where a device ran, in order; the last is where it runs (E7).
CREATE TABLE device_origin (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  device BLOB NOT NULL,
  machine BLOB,
  boot BLOB,
  since_s INTEGER NOT NULL
) STRICT;
CREATE INDEX device_origin_by_device ON device_origin (device, position);
