"""Define the tables of the ledger as the newest migration makes them. Times are of the database: ns since the epoch."""

import sqlalchemy as sql

METADATA = sql.MetaData()
VERSIONS = sql.Table(
    "ptp_harness",
    METADATA,
    sql.Column("revision", sql.String(16), primary_key=True),  # a migration that was made
    sql.Column("version", sql.String(32), nullable=False),  # the version of ptp-harness that made it
    sql.Column("made_ns", sql.BigInteger, nullable=False),
)
OWNERS = sql.Table(
    "owners",
    METADATA,
    sql.Column("owner", sql.String(32), primary_key=True),
    sql.Column("machine", sql.String(255), nullable=False),
    sql.Column("person", sql.String(255)),  # whom it acts for: ada@laptop; None: of a version that did not record it
    sql.Column("place", sql.String(96), nullable=False),  # where its pid means this process: boot and pid namespace
    sql.Column("pid", sql.Integer, nullable=False),
    sql.Column("pid_start_ticks", sql.BigInteger, nullable=False),
    sql.Column("since_ns", sql.BigInteger, nullable=False),
    sql.Column("beats", sql.BigInteger, nullable=False),  # number of renewals: it grows while the owner lives
    sql.Column("beat_ns", sql.BigInteger, nullable=False),
    sql.Column("until_ns", sql.BigInteger),  # the end of its lease; None: of a version that had no leases
)
RUNS = sql.Table(
    "runs",
    METADATA,
    sql.Column("run", sql.String(16), primary_key=True),
    sql.Column("bench", sql.String(16), nullable=False),
    sql.Column("campaign", sql.JSON, nullable=False),
    sql.Column("started_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("record", sql.JSON),  # RunRecord without its hosts, once the run has ended
    sql.Column("owner", sql.ForeignKey("owners.owner")),
    sql.Column("attempt", sql.Integer, nullable=False, server_default="1"),  # grows with every owner: it fences writes
    sql.Column("events", sql.Integer, nullable=False, server_default="0"),  # number of the latest event
    sql.Column("holds_passed", sql.Boolean, nullable=False, server_default=sql.false()),  # those that pass stay
    sql.Column("stopping", sql.Boolean, nullable=False, server_default=sql.false()),  # all who work on it shall end it
    sql.Column("task", sql.String(16)),  # the task whose run this is; None: a command began it
    sql.Column("passed", sql.Integer, nullable=False, server_default="0"),  # number of hosts with this verdict; this
    sql.Column("unsupported", sql.Integer, nullable=False, server_default="0"),  # and the following sum up its hosts
    sql.Column("inconclusive", sql.Integer, nullable=False, server_default="0"),
    sql.Column("failed", sql.Integer, nullable=False, server_default="0"),
    sql.Column("offset_p99_ns", sql.Float),  # the worst of its hosts; None: none has figures
    sql.Column("bound_p99_ns", sql.Float),
)
sql.Index("ix_runs_task", RUNS.c.task, unique=True)
sql.Index(
    "ix_runs_sums",
    RUNS.c.started_ns,
    RUNS.c.run,
    RUNS.c.bench,
    RUNS.c.passed,
    RUNS.c.unsupported,
    RUNS.c.inconclusive,
    RUNS.c.failed,
    RUNS.c.offset_p99_ns,
    RUNS.c.bound_p99_ns,
)
_IS_OPEN = sql.text("record IS NULL")
sql.Index("ix_runs_open", RUNS.c.started_ns, RUNS.c.run, RUNS.c.owner, sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN)
HOSTS = sql.Table(
    "hosts",
    METADATA,
    sql.Column("run", sql.ForeignKey("runs.run"), primary_key=True),
    sql.Column("host", sql.String(128), primary_key=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("instance_type", sql.String(64), nullable=False),
    sql.Column("state", sql.String(16)),
    sql.Column("record", sql.JSON),  # HostRecord, once the host has its verdict
    sql.Column("owner", sql.ForeignKey("owners.owner")),  # None: nobody works on it
    sql.Column("attempt", sql.Integer, nullable=False, server_default="0"),  # that of its token; 0: not begun
    sql.Column("expected_s", sql.Float, nullable=False, server_default="0"),  # the longest is claimed first
    sql.Column("kept_until_ns", sql.BigInteger),  # the end of a kept host's lease; None: no lease ends it
    sql.Column("kept_by", sql.String(255)),
    sql.Column("outcome", sql.String(16)),  # this and the following repeat the record, for lists of many hosts
    sql.Column("has_clock", sql.Boolean),  # None: the record does not determine it
    sql.Column("region", sql.String(32)),
    sql.Column("offset_p99_ns", sql.Float),  # of the size of the offset; None: the host has no figures
    sql.Column("bound_p99_ns", sql.Float),  # with the device's, or chrony's where the device publishes none
    sql.Column("image", sql.String(128)),  # that it was started from; its system where the record names none
    sql.Column("kernel", sql.String(128)),
    sql.Column("driver", sql.String(128)),  # with its version
)
HOST_TOKEN = HOSTS.c.run + "/" + HOSTS.c.host + "/" + sql.cast(HOSTS.c.attempt, sql.String)
"""The token of a host's latest attempt, as steps and resources have it."""

IS_KEPT = sql.text("state = 'kept'")  # as each query must write it, for the index to be used
sql.Index("ix_hosts_kept", HOSTS.c.run, HOSTS.c.kept_until_ns, sqlite_where=IS_KEPT, postgresql_where=IS_KEPT)
sql.Index("ix_hosts_figures", HOSTS.c.run, HOSTS.c.outcome, HOSTS.c.offset_p99_ns, HOSTS.c.bound_p99_ns)
sql.Index(
    "ix_hosts_verdicts",
    HOSTS.c.instance_type,
    HOSTS.c.outcome,
    HOSTS.c.has_clock,
    HOSTS.c.region,
    HOSTS.c.run,
    HOSTS.c.host,
)
STEPS = sql.Table(
    "steps",
    METADATA,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("token", sql.String(160), nullable=False, index=True),
    sql.Column("stage", sql.String(16), nullable=False),
    sql.Column("begun_ns", sql.BigInteger, nullable=False),
    sql.Column("ended_ns", sql.BigInteger),
    sql.Column("result", sql.Text),
    sql.Column("ident", sql.String(32), index=True, unique=True),  # drawn by its writer, so that it is written once
)
EVENTS = sql.Table(
    "events",
    METADATA,
    sql.Column("run", sql.ForeignKey("runs.run"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 ... in each run
    sql.Column("ident", sql.String(32), nullable=False),  # drawn by its writer, so that it is written once
    sql.Column("host", sql.String(128)),
    sql.Column("stage", sql.String(16)),
    sql.Column("text", sql.Text, nullable=False),
    sql.Column("at_ns", sql.BigInteger, nullable=False),
)
sql.Index("ix_events_ident", EVENTS.c.run, EVENTS.c.ident, unique=True)
BASELINES = sql.Table(
    "baselines",
    METADATA,
    sql.Column("name", sql.String(64), primary_key=True),
    sql.Column("run", sql.ForeignKey("runs.run"), primary_key=True),
    sql.Column("added_ns", sql.BigInteger, nullable=False),
    sql.Column("added_by", sql.String(255), nullable=False),
)
TASKS = sql.Table(
    "tasks",
    METADATA,
    sql.Column("task", sql.String(16), primary_key=True),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("document", sql.Text, nullable=False),  # as it was submitted: YAML or JSON
    sql.Column("campaign", sql.JSON, nullable=False),
    sql.Column("bench", sql.String(16), nullable=False),
    sql.Column("hosts", sql.Integer, nullable=False),  # number of hosts that the campaign names
    sql.Column("site", sql.String(64)),  # that is to carry it out; None: the service itself
    sql.Column("remote_task", sql.String(64)),  # its task at that site; "": it was sent, and no answer is recorded
    sql.Column("remote_run", sql.String(16)),  # its run at that site
    sql.Column("priority", sql.Integer, nullable=False, server_default="0"),  # the highest is begun first
    sql.Column("expected_s", sql.Float, nullable=False, server_default="0"),
    sql.Column("submitter", sql.String(64), nullable=False),  # the name of a token
    sql.Column("submitted_ns", sql.BigInteger, nullable=False),
    sql.Column("idempotency_key", sql.String(255)),
    sql.Column("fingerprint", sql.String(64), nullable=False),  # SHA-256 of the request, to compare repeated ones
    sql.Column("schedule", sql.String(64)),  # that submitted it
    sql.Column("owner", sql.ForeignKey("owners.owner")),  # the process that carries it out
    sql.Column("attempt", sql.Integer, nullable=False, server_default="0"),
    sql.Column("begun_ns", sql.BigInteger),
    sql.Column("ended_ns", sql.BigInteger),
    sql.Column("cancelled_by", sql.String(64)),  # set while it runs: it shall end
    sql.Column("exit_code", sql.Integer),  # of its run
    sql.Column("outcome", sql.String(16)),  # the worst of its run's hosts
    sql.Column("problem", sql.Text),  # why it failed, for a person
)
sql.Index("ix_tasks_requests", TASKS.c.submitter, TASKS.c.idempotency_key, unique=True)
sql.Index("ix_tasks_queue", TASKS.c.state, TASKS.c.priority, TASKS.c.submitted_ns)
sql.Index("ix_tasks_newest", TASKS.c.submitted_ns, TASKS.c.task)
TOKENS = sql.Table(
    "tokens",
    METADATA,
    sql.Column("token", sql.String(16), primary_key=True),  # its public name in lists; not the secret
    sql.Column("name", sql.String(64), nullable=False, unique=True),
    sql.Column("digest", sql.String(64), nullable=False, unique=True),  # SHA-256 of the secret, which is kept nowhere
    sql.Column("scope", sql.String(16), nullable=False),
    sql.Column("created_ns", sql.BigInteger, nullable=False),
    sql.Column("created_by", sql.String(255), nullable=False),
    sql.Column("expires_ns", sql.BigInteger),
    sql.Column("revoked_ns", sql.BigInteger),
    sql.Column("last_used_ns", sql.BigInteger),
)
AUDIT = sql.Table(
    "audit",
    METADATA,
    sql.Column("number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True),
    sql.Column("at_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("actor", sql.String(64), nullable=False),  # the name of a token; "" without one
    sql.Column("address", sql.String(64), nullable=False),
    sql.Column("action", sql.String(64), nullable=False),
    sql.Column("object", sql.String(255), nullable=False),
    sql.Column("status", sql.Integer, nullable=False),  # of the answer, as HTTP has it
)
SCHEDULES = sql.Table(
    "schedules",
    METADATA,
    sql.Column("name", sql.String(64), primary_key=True),
    sql.Column("cron", sql.String(128), nullable=False),
    sql.Column("zone", sql.String(64), nullable=False),  # of the time zone in which `cron` is read
    sql.Column("document", sql.Text, nullable=False),
    sql.Column("site", sql.String(64)),
    sql.Column("priority", sql.Integer, nullable=False, server_default="0"),
    sql.Column("submitter", sql.String(64), nullable=False),
    sql.Column("created_ns", sql.BigInteger, nullable=False),
    sql.Column("due_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("last_ns", sql.BigInteger),  # when it was due before
    sql.Column("last_task", sql.String(16)),
    sql.Column("last_problem", sql.Text),  # why no task was made then
    sql.Column("missed", sql.Integer, nullable=False, server_default="0"),  # times that passed while no service ran
    sql.Column("paused", sql.Boolean, nullable=False, server_default=sql.false()),  # it makes no tasks
)
SITES = sql.Table(
    "sites",
    METADATA,
    sql.Column("name", sql.String(64), primary_key=True),
    sql.Column("url", sql.Text, nullable=False),
    sql.Column("benches", sql.JSON, nullable=False),  # names of the benches that it has
    sql.Column("added_ns", sql.BigInteger, nullable=False),
    sql.Column("added_by", sql.String(255), nullable=False),
)
BUCKETS = sql.Table(
    "request_buckets",
    METADATA,
    sql.Column("bucket", sql.String(160), primary_key=True),  # of which account, Region and operation
    sql.Column("full_ns", sql.BigInteger, nullable=False),  # when it will be full again
)
# Rows of the watch change every two seconds: a page keeps room for their next versions (PostgreSQL's HOT updates).
_HALF_FULL = {"fillfactor": 50}
WATCH_WORKERS = sql.Table(
    "watch_workers",
    METADATA,
    sql.Column("worker", sql.String(64), primary_key=True),
    sql.Column("registration", sql.Integer, nullable=False),  # grows with each process of this name: it fences writes
    sql.Column("process", sql.String(255), nullable=False),  # the machine and process, for people
    sql.Column("version", sql.String(32), nullable=False),
    sql.Column("capacity", sql.Float, nullable=False),  # the largest sum of weights that it can carry
    sql.Column("score", sql.Float, nullable=False),  # its speed beside others
    sql.Column("load", sql.Float, nullable=False, server_default="0"),  # the part of a core that it used of late
    sql.Column("draining", sql.Boolean, nullable=False, server_default=sql.false()),  # it gets no more streams
    sql.Column("registered_ns", sql.BigInteger, nullable=False),
    sql.Column("beat_ns", sql.BigInteger, nullable=False),
    sql.Column("until_ns", sql.BigInteger, nullable=False),  # the end of its lease
    sql.Column("findings", sql.JSON),  # what it found out about itself and its hosts, while that is so
    postgresql_with=_HALF_FULL,
)
WATCH_STREAMS = sql.Table(
    "watch_streams",
    METADATA,
    sql.Column("stream", sql.String(160), primary_key=True),
    sql.Column("source", sql.JSON, nullable=False),  # how its host is reached
    sql.Column("interval_s", sql.Float, nullable=False),
    sql.Column("limits", sql.JSON, nullable=False),
    sql.Column("weight", sql.Float, nullable=False, server_default="1"),
    sql.Column("wanted", sql.String(64), index=True),  # the worker that is to have it
    sql.Column("wanted_ns", sql.BigInteger),  # since when
    sql.Column("owner", sql.String(64), index=True),  # the worker that has it
    sql.Column("epoch", sql.Integer, nullable=False, server_default="0"),  # grows with every owner: it fences samples
    sql.Column("until_ns", sql.BigInteger),  # the end of the owner's lease
    sql.Column("added_ns", sql.BigInteger, nullable=False),
    sql.Column("added_by", sql.String(255), nullable=False),
    postgresql_with=_HALF_FULL,
)
WATCH_LEADER = sql.Table(
    "watch_leader",
    METADATA,
    sql.Column("leader", sql.String(16), primary_key=True),  # one row: "watch"
    sql.Column("epoch", sql.Integer, nullable=False),
    sql.Column("process", sql.String(255), nullable=False),
    sql.Column("until_ns", sql.BigInteger, nullable=False),
)
WATCH_CHUNKS = sql.Table(  # what a worker sampled of a stream: one row a minute, never changed
    "watch_chunks",
    METADATA,
    sql.Column("stream", sql.String(160), primary_key=True),
    sql.Column("first_tick", sql.BigInteger, primary_key=True),
    sql.Column("epoch", sql.Integer, primary_key=True),  # of two readings of one tick that of the later epoch counts
    sql.Column("last_tick", sql.BigInteger, nullable=False),
    sql.Column("interval_ns", sql.BigInteger, nullable=False),  # of the grid then: tick x interval is a moment
    sql.Column("worker", sql.String(64), nullable=False),
    sql.Column("replayed", sql.Boolean, nullable=False),  # it was spooled while the ledger was away
    sql.Column("stored_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("readings", sql.LargeBinary, nullable=False),  # compressed columns, one value a tick
)
WATCH_STATES = sql.Table(  # the latest word about each stream
    "watch_states",
    METADATA,
    sql.Column("stream", sql.String(160), primary_key=True),
    sql.Column("epoch", sql.Integer, nullable=False),
    sql.Column("tick", sql.BigInteger, nullable=False),  # the latest that it speaks of
    sql.Column("sampled_ns", sql.BigInteger, nullable=False),  # when that was stored: an old word is none
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("reason", sql.String(64)),
    sql.Column("sentence", sql.Text, nullable=False),
    sql.Column("since_tick", sql.BigInteger, nullable=False),  # since when it has this state
    sql.Column("latest", sql.JSON, nullable=False),  # the figures of the latest window
    sql.Column("judging", sql.JSON, nullable=False),  # what another worker needs to go on judging
    sql.Column("host", sql.JSON, nullable=False),  # kernel, driver, type, zone: what incidents are grouped by
    postgresql_with=_HALF_FULL,
)
WATCH_CHANGES = sql.Table(  # each change of a stream's state
    "watch_changes",
    METADATA,
    sql.Column("stream", sql.String(160), primary_key=True),
    sql.Column("tick", sql.BigInteger, primary_key=True),
    sql.Column("epoch", sql.Integer, primary_key=True),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("reason", sql.String(64)),
    sql.Column("sentence", sql.Text, nullable=False),
    sql.Column("replayed", sql.Boolean, nullable=False),  # told only after the ledger was away
    sql.Column("stored_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("interval_ns", sql.BigInteger, nullable=False),  # of the grid then
)
WATCH_DAYS = sql.Table(  # a stream's day, in UTC: it outlives the chunks
    "watch_days",
    METADATA,
    sql.Column("stream", sql.String(160), primary_key=True),
    sql.Column("day", sql.String(10), primary_key=True),  # 2026-11-30
    sql.Column("figures", sql.JSON, nullable=False),
    sql.Column("archive", sql.Text),  # the file of its samples in the evidence store
    sql.Column("stored_ns", sql.BigInteger, nullable=False),
)
WATCH_INCIDENTS = sql.Table(  # streams that one cause has broken, as one line
    "watch_incidents",
    METADATA,
    sql.Column("incident", sql.String(16), primary_key=True),
    sql.Column("kind", sql.String(64), nullable=False),
    sql.Column("cause", sql.String(255), nullable=False),  # what its streams have in common: "kernel 6.1.0-30"
    sql.Column("streams", sql.JSON, nullable=False),
    sql.Column("sentence", sql.Text, nullable=False),
    sql.Column("recommendation", sql.Text, nullable=False),
    sql.Column("began_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("ended_ns", sql.BigInteger),
    sql.Column("told", sql.JSON, nullable=False),  # to whom its beginning and its end were told, and what failed
)
WATCH_LOG = sql.Table(  # what leaders did and found: moves, inconsistencies, mends
    "watch_log",
    METADATA,
    sql.Column("number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sql.Column("logged_ns", sql.BigInteger, nullable=False, index=True),
    sql.Column("epoch", sql.Integer, nullable=False),  # of the leadership
    sql.Column("kind", sql.String(32), nullable=False),
    sql.Column("stream", sql.String(160)),
    sql.Column("worker", sql.String(64)),
    sql.Column("sentence", sql.Text, nullable=False),
)
WATCH_CURSORS = sql.Table(  # up to where chunks were sent to another store of series
    "watch_cursors",
    METADATA,
    sql.Column("cursor", sql.String(64), primary_key=True),
    sql.Column("label", sql.Text, nullable=False),  # where to, without its credentials
    sql.Column("revision", sql.Integer, nullable=False),  # grows with each write: of two senders one goes on
    sql.Column("through_ns", sql.BigInteger, nullable=False),  # all chunks that were stored until then were sent
    sql.Column("sent", sql.JSON, nullable=False),  # of chunks that were stored later and sent: digest and time
    sql.Column("samples", sql.BigInteger, nullable=False),  # that were sent
    sql.Column("refused", sql.BigInteger, nullable=False),  # samples that the other store refused
    sql.Column("problem", sql.Text),  # of the latest try; None: it succeeded
    sql.Column("written_ns", sql.BigInteger, nullable=False),
)
