-- Sign-in with an outside OpenID Connect provider.

-- Whose account a person of the provider's is: found once by e-mail address, by subject ever after. Never changed.
CREATE TABLE identity.provider_links (
  issuer    text NOT NULL,
  subject   text NOT NULL,
  user_id   text NOT NULL,
  linked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (issuer, subject),
  UNIQUE (issuer, user_id)
);

-- Sign-ins that were ended, until they would be too old: each can be ended once.
CREATE TABLE identity.provider_sign_ins (
  nonce      text PRIMARY KEY,
  expires_at timestamptz NOT NULL
);
CREATE INDEX provider_sign_ins_by_age ON identity.provider_sign_ins (expires_at);

GRANT SELECT, INSERT ON identity.provider_links TO athena_gateway;
GRANT SELECT, INSERT, DELETE ON identity.provider_sign_ins TO athena_gateway;
