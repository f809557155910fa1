"""idac against GAVO DaCHS over HTTP, with bare PostgreSQL and LSDB beside them, in one run on one machine."""
