CREATE FUNCTION public.identity_audit_kept() RETURNS trigger
    LANGUAGE plpgsql
    AS $$BEGIN RAISE EXCEPTION 'the audit log is append-only'; END$$;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.identity_accounts (
    id integer NOT NULL,
    name character varying(32) NOT NULL,
    kind character varying(10) NOT NULL,
    full_name text,
    email text,
    uid bigint NOT NULL,
    is_admin boolean NOT NULL,
    password text,
    created bigint NOT NULL,
    frozen bigint,
    frozen_why text,
    expires bigint,
    last_login bigint
);
CREATE SEQUENCE public.identity_accounts_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.identity_accounts_id_seq OWNED BY public.identity_accounts.id;
CREATE TABLE public.identity_audit (
    id integer NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL,
    action character varying(40) NOT NULL,
    subject text,
    address text,
    detail text NOT NULL
);
CREATE SEQUENCE public.identity_audit_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.identity_audit_id_seq OWNED BY public.identity_audit.id;
CREATE TABLE public.identity_claimed_admins (
    account integer NOT NULL,
    issuer text NOT NULL
);
CREATE TABLE public.identity_devices (
    key character varying(22) NOT NULL,
    digest character varying(64) NOT NULL,
    user_digest character varying(64) NOT NULL,
    client character varying(64) NOT NULL,
    device character varying(40) NOT NULL,
    scopes text NOT NULL,
    address text NOT NULL,
    network character varying(64) NOT NULL,
    state character varying(10) NOT NULL,
    account integer,
    interval_s integer NOT NULL,
    polled bigint,
    created bigint NOT NULL,
    expires bigint NOT NULL
);
CREATE TABLE public.identity_external (
    issuer text NOT NULL,
    subject text NOT NULL,
    account integer NOT NULL,
    created bigint NOT NULL,
    last_login bigint
);
CREATE TABLE public.identity_flows (
    key character varying(22) NOT NULL,
    digest character varying(64) NOT NULL,
    provider character varying(40) NOT NULL,
    nonce character varying(64) NOT NULL,
    verifier character varying(128) NOT NULL,
    redirect_uri text NOT NULL,
    next_path text NOT NULL,
    session character varying(22),
    address character varying(64) NOT NULL,
    expires bigint NOT NULL
);
CREATE TABLE public.identity_grants (
    "group" integer NOT NULL,
    "right" character varying(60) NOT NULL,
    expires bigint,
    created bigint NOT NULL
);
CREATE TABLE public.identity_groups (
    id integer NOT NULL,
    name character varying(64) NOT NULL,
    gid bigint NOT NULL,
    description text NOT NULL,
    created bigint NOT NULL
);
CREATE SEQUENCE public.identity_groups_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.identity_groups_id_seq OWNED BY public.identity_groups.id;
CREATE TABLE public.identity_guesses (
    subject character varying(80) NOT NULL,
    "window" bigint NOT NULL,
    count integer NOT NULL
);
CREATE TABLE public.identity_links (
    key character varying(22) NOT NULL,
    account integer NOT NULL,
    digest character varying(64) NOT NULL,
    expires bigint NOT NULL
);
CREATE TABLE public.identity_members (
    "group" integer NOT NULL,
    account integer NOT NULL,
    source text NOT NULL,
    expires bigint,
    created bigint NOT NULL
);
CREATE TABLE public.identity_numbers (
    name character varying(10) NOT NULL,
    next bigint NOT NULL
);
CREATE TABLE public.identity_sessions (
    key character varying(22) NOT NULL,
    account integer NOT NULL,
    digest character varying(64) NOT NULL,
    address text,
    created bigint NOT NULL,
    expires bigint NOT NULL
);
CREATE TABLE public.identity_tokens (
    key character varying(22) NOT NULL,
    account integer NOT NULL,
    digest character varying(64) NOT NULL,
    kind character varying(10) NOT NULL,
    name character varying(64) NOT NULL,
    scopes text NOT NULL,
    created bigint NOT NULL,
    expires bigint,
    last_used bigint,
    revoked bigint,
    parent character varying(22)
);
CREATE TABLE public.jobs (
    id character varying(40) NOT NULL,
    kind character varying(40) NOT NULL,
    owner text NOT NULL,
    principal text NOT NULL,
    phase character varying(10) NOT NULL,
    run_id text,
    created bigint NOT NULL,
    queued bigint,
    started bigint,
    ended bigint,
    destruction bigint NOT NULL,
    execution_duration_s integer NOT NULL,
    parameters text NOT NULL,
    files text NOT NULL,
    attempt integer NOT NULL,
    worker character varying(80),
    lease bigint,
    progress text,
    error text,
    results text NOT NULL
);
ALTER TABLE ONLY public.identity_accounts ALTER COLUMN id SET DEFAULT nextval('public.identity_accounts_id_seq'::regclass);
ALTER TABLE ONLY public.identity_audit ALTER COLUMN id SET DEFAULT nextval('public.identity_audit_id_seq'::regclass);
ALTER TABLE ONLY public.identity_groups ALTER COLUMN id SET DEFAULT nextval('public.identity_groups_id_seq'::regclass);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.identity_accounts
    ADD CONSTRAINT identity_accounts_name_key UNIQUE (name);
ALTER TABLE ONLY public.identity_accounts
    ADD CONSTRAINT identity_accounts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.identity_accounts
    ADD CONSTRAINT identity_accounts_uid_key UNIQUE (uid);
ALTER TABLE ONLY public.identity_audit
    ADD CONSTRAINT identity_audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.identity_claimed_admins
    ADD CONSTRAINT identity_claimed_admins_pkey PRIMARY KEY (account, issuer);
ALTER TABLE ONLY public.identity_devices
    ADD CONSTRAINT identity_devices_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.identity_devices
    ADD CONSTRAINT identity_devices_user_digest_key UNIQUE (user_digest);
ALTER TABLE ONLY public.identity_external
    ADD CONSTRAINT identity_external_pkey PRIMARY KEY (issuer, subject);
ALTER TABLE ONLY public.identity_flows
    ADD CONSTRAINT identity_flows_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.identity_grants
    ADD CONSTRAINT identity_grants_pkey PRIMARY KEY ("group", "right");
ALTER TABLE ONLY public.identity_groups
    ADD CONSTRAINT identity_groups_gid_key UNIQUE (gid);
ALTER TABLE ONLY public.identity_groups
    ADD CONSTRAINT identity_groups_name_key UNIQUE (name);
ALTER TABLE ONLY public.identity_groups
    ADD CONSTRAINT identity_groups_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.identity_guesses
    ADD CONSTRAINT identity_guesses_pkey PRIMARY KEY (subject, "window");
ALTER TABLE ONLY public.identity_links
    ADD CONSTRAINT identity_links_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.identity_members
    ADD CONSTRAINT identity_members_pkey PRIMARY KEY ("group", account, source);
ALTER TABLE ONLY public.identity_numbers
    ADD CONSTRAINT identity_numbers_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.identity_sessions
    ADD CONSTRAINT identity_sessions_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.identity_tokens
    ADD CONSTRAINT identity_tokens_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
CREATE INDEX ix_identity_audit_action ON public.identity_audit USING btree (action);
CREATE INDEX ix_identity_audit_at ON public.identity_audit USING btree (at);
CREATE INDEX ix_identity_devices_account ON public.identity_devices USING btree (account);
CREATE INDEX ix_identity_devices_expires ON public.identity_devices USING btree (expires);
CREATE INDEX ix_identity_devices_network ON public.identity_devices USING btree (network);
CREATE INDEX ix_identity_external_account ON public.identity_external USING btree (account);
CREATE INDEX ix_identity_flows_address ON public.identity_flows USING btree (address);
CREATE INDEX ix_identity_flows_expires ON public.identity_flows USING btree (expires);
CREATE INDEX ix_identity_links_account ON public.identity_links USING btree (account);
CREATE INDEX ix_identity_links_expires ON public.identity_links USING btree (expires);
CREATE INDEX ix_identity_members_account ON public.identity_members USING btree (account);
CREATE INDEX ix_identity_sessions_account ON public.identity_sessions USING btree (account);
CREATE INDEX ix_identity_sessions_expires ON public.identity_sessions USING btree (expires);
CREATE INDEX ix_identity_tokens_account ON public.identity_tokens USING btree (account);
CREATE INDEX ix_identity_tokens_parent ON public.identity_tokens USING btree (parent);
CREATE INDEX jobs_of_owner ON public.jobs USING btree (kind, owner, created);
CREATE INDEX jobs_of_worker ON public.jobs USING btree (worker);
CREATE INDEX jobs_to_destroy ON public.jobs USING btree (destruction);
CREATE INDEX jobs_waiting ON public.jobs USING btree (phase, owner, queued);
CREATE TRIGGER identity_audit_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON public.identity_audit FOR EACH STATEMENT EXECUTE FUNCTION public.identity_audit_kept();
ALTER TABLE ONLY public.identity_claimed_admins
    ADD CONSTRAINT identity_claimed_admins_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_devices
    ADD CONSTRAINT identity_devices_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_external
    ADD CONSTRAINT identity_external_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_grants
    ADD CONSTRAINT identity_grants_group_fkey FOREIGN KEY ("group") REFERENCES public.identity_groups(id);
ALTER TABLE ONLY public.identity_links
    ADD CONSTRAINT identity_links_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_members
    ADD CONSTRAINT identity_members_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_members
    ADD CONSTRAINT identity_members_group_fkey FOREIGN KEY ("group") REFERENCES public.identity_groups(id);
ALTER TABLE ONLY public.identity_sessions
    ADD CONSTRAINT identity_sessions_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_tokens
    ADD CONSTRAINT identity_tokens_account_fkey FOREIGN KEY (account) REFERENCES public.identity_accounts(id);
ALTER TABLE ONLY public.identity_tokens
    ADD CONSTRAINT identity_tokens_parent_fkey FOREIGN KEY (parent) REFERENCES public.identity_tokens(key);
