-- The people who work with the system, and the role each of them has in it.

-- UUIDv7 (RFC 9562): the first 48 bits are the time in milliseconds, so new ids are neighbours in an
-- index. Random ids write ten times the WAL, and paging by id alone follows the order of creation.
-- Written in SQL, as PostgreSQL has uuidv7() from 18 on only.
CREATE FUNCTION public.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE SECURITY INVOKER
RETURN encode(
    -- A random uuid carries version 4 already; two bits make 7 of it.
    set_bit(
        set_bit(
            overlay(
                uuid_send(gen_random_uuid())
                PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6
            ),
            52, 1
        ),
        53, 1
    ),
    'hex'
)::uuid;

COMMENT ON FUNCTION public.uuid_v7() IS 'A new id that sorts by its time of creation (UUIDv7).';

-- A domain without a constraint, and the constraint on the table: comparing a native enum is not
-- "leakproof", so under row security no index on such a column could be used.
CREATE DOMAIN public.user_role AS text;

CREATE TABLE public.users (
    id         uuid             NOT NULL DEFAULT public.uuid_v7(),
    email      text             NOT NULL,
    password   text             NOT NULL,
    role       public.user_role NOT NULL,
    first_name text             NOT NULL,
    last_name  text             NOT NULL,
    -- Nobody is deleted who ever did anything; he is no longer active.
    is_active  boolean          NOT NULL DEFAULT true,
    -- Milliseconds, as JavaScript has them: a finer time would skip rows when paging by it.
    created_at timestamptz(3)   NOT NULL DEFAULT now(),
    updated_at timestamptz(3)   NOT NULL DEFAULT now(),

    CONSTRAINT users_pkey PRIMARY KEY (id),
    -- On the column itself and not on lower(email): an upsert by e-mail needs a plain one.
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT valid_email
        CHECK (email ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'),
    -- Clerk@example.com and clerk@example.com are one person.
    CONSTRAINT users_email_lower_case CHECK (email = lower(email COLLATE "C")),
    -- valid_email lets a@b..com and .a@b.com pass.
    CONSTRAINT users_email_no_empty_part CHECK (email !~ '(^|@|\.)\.|\.@'),
    -- A password in clear text would be in every backup. Cost 10 or more.
    CONSTRAINT users_password_is_bcrypt
        CHECK (password ~ '^\$2[aby]\$[1-3][0-9]\$[./A-Za-z0-9]{53}$'),
    CONSTRAINT users_role_known CHECK (role IN ('CLERK', 'CHAIR', 'CASEWORKER')),
    -- At least one character that can be seen; trim() would let a tab or a no-break space pass.
    CONSTRAINT users_first_name_not_blank
        CHECK (first_name ~ '[^\s\u00A0\u1680\u180E\u2000-\u200D\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]'),
    CONSTRAINT users_last_name_not_blank
        CHECK (last_name ~ '[^\s\u00A0\u1680\u180E\u2000-\u200D\u2028\u2029\u202F\u205F\u2060\u3000\uFEFF]')
);

COMMENT ON TABLE public.users IS 'The people who work with the system.';
COMMENT ON COLUMN public.users.email IS 'Lower case; what one logs in with.';
COMMENT ON COLUMN public.users.is_active IS 'Whether this user may log in and act.';
COMMENT ON COLUMN public.users.password IS 'A bcrypt hash.';
