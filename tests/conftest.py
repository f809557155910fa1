"""The real services that tests of every folder may ask for: ``postgresql_url`` and ``s3_bucket``."""

pytest_plugins = ["services.postgresql", "services.rgw"]
