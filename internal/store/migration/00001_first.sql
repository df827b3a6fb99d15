-- Every statement is one that SQLite and PostgreSQL both take. Times are milliseconds since 1970 in UTC.

-- +goose Up
CREATE TABLE setting (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);

-- A counter row is updated in the transaction that uses its numbers, so a reader never sees a later number before an
-- earlier one; a sequence of the database would let it.
CREATE TABLE counter (
	name  TEXT PRIMARY KEY,
	value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('change', 0), ('change pruned', 0), ('subscriber', 0);

-- What another process must notice. Subject '' means: all of that kind.
CREATE TABLE change (
	seq     BIGINT PRIMARY KEY,
	made    BIGINT NOT NULL,
	kind    TEXT NOT NULL,
	subject TEXT NOT NULL
);

CREATE TABLE subscriber (
	id           BIGINT PRIMARY KEY,
	name         TEXT NOT NULL,
	email        TEXT NOT NULL,
	prefix       TEXT UNIQUE,
	last_premium BIGINT NOT NULL DEFAULT 0,
	last_hunt    BIGINT NOT NULL DEFAULT 0,
	created      BIGINT NOT NULL
);

CREATE TABLE account (
	number       TEXT PRIMARY KEY,
	kind         TEXT NOT NULL,
	subscriber   BIGINT REFERENCES subscriber (id),
	hashes       BYTEA NOT NULL,
	locked       BOOLEAN NOT NULL DEFAULT FALSE,
	switched_off BOOLEAN NOT NULL DEFAULT FALSE,
	valid_from   BIGINT,
	valid_until  BIGINT,
	created      BIGINT NOT NULL
);
CREATE INDEX account_subscriber ON account (subscriber);

-- A binding is a row here, or still in the log, or both; the log is read over the rows.
CREATE TABLE binding (
	id      BIGINT PRIMARY KEY,
	number  TEXT NOT NULL,
	expires BIGINT NOT NULL,
	cseq    BIGINT NOT NULL,
	reach   BIGINT NOT NULL,
	seen    BIGINT NOT NULL,
	data    BYTEA NOT NULL
);

-- One row is one group commit of changes to bindings, packed. Its number is the time in microseconds.
CREATE TABLE binding_log (
	seq  BIGINT PRIMARY KEY,
	data BYTEA NOT NULL
);

-- The calls that have ended. The identifier begins with the time of the start, so its order is that of time.
CREATE TABLE call (
	id                TEXT PRIMARY KEY,
	call_id           TEXT NOT NULL,
	caller            TEXT NOT NULL,
	dialled           TEXT NOT NULL,
	callee            TEXT NOT NULL,
	started           BIGINT NOT NULL,
	answered          BIGINT,
	ended             BIGINT NOT NULL,
	status            BIGINT NOT NULL,
	cause             TEXT NOT NULL,
	ended_by          TEXT NOT NULL,
	caller_agent      TEXT NOT NULL,
	callee_agent      TEXT NOT NULL,
	caller_addr       TEXT NOT NULL,
	callee_addr       TEXT NOT NULL,
	codecs_offered    TEXT NOT NULL,
	codecs_agreed     TEXT NOT NULL,
	caller_subscriber BIGINT,
	callee_subscriber BIGINT
);

-- One row is one group commit of calls that are up, packed. The same call may stand in several rows; the last one
-- counts, unless it is in the table call.
CREATE TABLE call_open (
	seq  BIGINT PRIMARY KEY,
	data BYTEA NOT NULL
);

-- Calls that an operator wants ended.
CREATE TABLE call_end (
	id   TEXT PRIMARY KEY,
	made BIGINT NOT NULL
);
