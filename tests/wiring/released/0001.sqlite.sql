CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE identity_accounts (
	id INTEGER NOT NULL,
	name VARCHAR(32) NOT NULL,
	kind VARCHAR(10) NOT NULL,
	full_name TEXT,
	email TEXT,
	uid BIGINT NOT NULL,
	is_admin BOOLEAN NOT NULL,
	password TEXT,
	created BIGINT NOT NULL,
	frozen BIGINT,
	frozen_why TEXT,
	expires BIGINT,
	last_login BIGINT,
	PRIMARY KEY (id),
	UNIQUE (name),
	UNIQUE (uid)
);
CREATE TABLE identity_audit (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	at BIGINT NOT NULL,
	actor TEXT NOT NULL,
	action VARCHAR(40) NOT NULL,
	subject TEXT,
	address TEXT,
	detail TEXT NOT NULL
);
CREATE INDEX ix_identity_audit_action ON identity_audit (action);
CREATE INDEX ix_identity_audit_at ON identity_audit (at);
CREATE TABLE identity_flows (
	"key" VARCHAR(22) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	provider VARCHAR(40) NOT NULL,
	nonce VARCHAR(64) NOT NULL,
	verifier VARCHAR(128) NOT NULL,
	redirect_uri TEXT NOT NULL,
	next_path TEXT NOT NULL,
	session VARCHAR(22),
	address VARCHAR(64) NOT NULL,
	expires BIGINT NOT NULL,
	PRIMARY KEY ("key")
);
CREATE INDEX ix_identity_flows_address ON identity_flows (address);
CREATE INDEX ix_identity_flows_expires ON identity_flows (expires);
CREATE TABLE identity_groups (
	id INTEGER NOT NULL,
	name VARCHAR(64) NOT NULL,
	gid BIGINT NOT NULL,
	description TEXT NOT NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (gid),
	UNIQUE (name)
);
CREATE TABLE identity_guesses (
	subject VARCHAR(80) NOT NULL,
	window BIGINT NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (subject, window)
);
CREATE TABLE identity_numbers (
	name VARCHAR(10) NOT NULL,
	next BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE identity_claimed_admins (
	account INTEGER NOT NULL,
	issuer TEXT NOT NULL,
	PRIMARY KEY (account, issuer),
	FOREIGN KEY(account) REFERENCES identity_accounts (id)
);
CREATE TABLE identity_devices (
	"key" VARCHAR(22) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	user_digest VARCHAR(64) NOT NULL,
	client VARCHAR(64) NOT NULL,
	device VARCHAR(40) NOT NULL,
	scopes TEXT NOT NULL,
	address TEXT NOT NULL,
	network VARCHAR(64) NOT NULL,
	state VARCHAR(10) NOT NULL,
	account INTEGER,
	interval_s INTEGER NOT NULL,
	polled BIGINT,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	PRIMARY KEY ("key"),
	FOREIGN KEY(account) REFERENCES identity_accounts (id),
	UNIQUE (user_digest)
);
CREATE INDEX ix_identity_devices_account ON identity_devices (account);
CREATE INDEX ix_identity_devices_expires ON identity_devices (expires);
CREATE INDEX ix_identity_devices_network ON identity_devices (network);
CREATE TABLE identity_external (
	issuer TEXT NOT NULL,
	subject TEXT NOT NULL,
	account INTEGER NOT NULL,
	created BIGINT NOT NULL,
	last_login BIGINT,
	PRIMARY KEY (issuer, subject),
	FOREIGN KEY(account) REFERENCES identity_accounts (id)
);
CREATE INDEX ix_identity_external_account ON identity_external (account);
CREATE TABLE identity_grants (
	"group" INTEGER NOT NULL,
	"right" VARCHAR(60) NOT NULL,
	expires BIGINT,
	created BIGINT NOT NULL,
	PRIMARY KEY ("group", "right"),
	FOREIGN KEY("group") REFERENCES identity_groups (id)
);
CREATE TABLE identity_links (
	"key" VARCHAR(22) NOT NULL,
	account INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	expires BIGINT NOT NULL,
	PRIMARY KEY ("key"),
	FOREIGN KEY(account) REFERENCES identity_accounts (id)
);
CREATE INDEX ix_identity_links_account ON identity_links (account);
CREATE INDEX ix_identity_links_expires ON identity_links (expires);
CREATE TABLE identity_members (
	"group" INTEGER NOT NULL,
	account INTEGER NOT NULL,
	source TEXT NOT NULL,
	expires BIGINT,
	created BIGINT NOT NULL,
	PRIMARY KEY ("group", account, source),
	FOREIGN KEY(account) REFERENCES identity_accounts (id),
	FOREIGN KEY("group") REFERENCES identity_groups (id)
);
CREATE INDEX ix_identity_members_account ON identity_members (account);
CREATE TABLE identity_sessions (
	"key" VARCHAR(22) NOT NULL,
	account INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	address TEXT,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	PRIMARY KEY ("key"),
	FOREIGN KEY(account) REFERENCES identity_accounts (id)
);
CREATE INDEX ix_identity_sessions_account ON identity_sessions (account);
CREATE INDEX ix_identity_sessions_expires ON identity_sessions (expires);
CREATE TABLE identity_tokens (
	"key" VARCHAR(22) NOT NULL,
	account INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	kind VARCHAR(10) NOT NULL,
	name VARCHAR(64) NOT NULL,
	scopes TEXT NOT NULL,
	created BIGINT NOT NULL,
	expires BIGINT,
	last_used BIGINT,
	revoked BIGINT,
	parent VARCHAR(22),
	PRIMARY KEY ("key"),
	FOREIGN KEY(account) REFERENCES identity_accounts (id),
	FOREIGN KEY(parent) REFERENCES identity_tokens ("key")
);
CREATE INDEX ix_identity_tokens_account ON identity_tokens (account);
CREATE INDEX ix_identity_tokens_parent ON identity_tokens (parent);
CREATE TABLE jobs (
	id VARCHAR(40) NOT NULL,
	kind VARCHAR(40) NOT NULL,
	owner TEXT NOT NULL,
	principal TEXT NOT NULL,
	phase VARCHAR(10) NOT NULL,
	run_id TEXT,
	created BIGINT NOT NULL,
	queued BIGINT,
	started BIGINT,
	ended BIGINT,
	destruction BIGINT NOT NULL,
	execution_duration_s INTEGER NOT NULL,
	parameters TEXT NOT NULL,
	files TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	worker VARCHAR(80),
	lease BIGINT,
	progress TEXT,
	error TEXT,
	results TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX jobs_of_owner ON jobs (kind, owner, created);
CREATE INDEX jobs_of_worker ON jobs (worker);
CREATE INDEX jobs_to_destroy ON jobs (destruction);
CREATE INDEX jobs_waiting ON jobs (phase, owner, queued);
CREATE TRIGGER identity_audit_UPDATE BEFORE UPDATE ON identity_audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER identity_audit_DELETE BEFORE DELETE ON identity_audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
