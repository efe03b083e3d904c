"""Every bound of the console, named, with its reason."""

from typing import Final

# What one request may be.
ID_CHARACTERS_MAX: Final = 512  # of an entity, event, job or case: ours are under a hundred
PRINTABLE: Final = "^(?![\\s\\S]*[\\x00-\\x1f\\x7f-\\x9f])"
"""No control characters in what becomes an argument of a command, or a line of a record."""

QUERY_BYTES_MAX: Final = 2_048  # a filter or two
BODY_BYTES_MAX: Final = 16_384  # an action is a name, an id and a reason
DEPTH_MAX: Final = 8  # nesting of a body: ours are flat
BODY_S: Final = 5.0  # a body that trickles in longer holds a connection for nothing
HEADERS_BYTES_MAX: Final = 16_384  # as h11 takes them, with cookies of other services on the host
REASON_CHARACTERS_MAX: Final = 500  # a reason is a sentence, or three
NAME_CHARACTERS_MAX: Final = 80

# What one call may be: see `calls`.
CALL_BYTES_MAX: Final = 262_144  # 64 problems of 12 nodes, all of them tied, are some 150 kB
CALL_PROBLEMS_MAX: Final = 64  # as `jobs explain` can show of one job
CALL_NODES_MIN: Final = 3  # two that are tied are a pair, and no group that could be found
AMOUNT_MAX: Final = 1e12  # in the stream's unit: its minor units stay whole numbers in JSON
KEY_CHARACTERS_MAX: Final = 255  # of an Idempotency-Key: a UUID has 36

# How often one client may ask, as (a second, at once). A page that is opened asks a dozen times.
READS: Final = (20.0, 60.0)
LOOKUPS: Final = (1.0, 12.0)  # each reads topics, most in a process; a job opened is three
ACTIONS: Final = (0.5, 6.0)
CALLS: Final = (5.0, 50.0)  # a program's burst; what is open at once bounds all of them together
RESULTS: Final = (10.0, 60.0)  # polled from memory; of a job that is over, read from two topics
SIGN_INS: Final = (0.1, 5.0)  # a token of 16 characters is not guessed at that pace
CLIENTS_MAX: Final = 4_096  # addresses remembered; the one heard of least lately is forgotten

# What runs at once.
CONNECTIONS_MAX: Final = 256
STREAMS_MAX: Final = 64  # pages that follow live; each costs a few kB every two seconds
COMMANDS_MAX: Final = 2  # child processes, 100 to 300 MB each: those with circuits are the large
COMMAND_WAIT_S: Final = 10.0  # for one of them to become free; then: busy
COMMAND_S: Final = 90.0  # a virtual device draws a minute long
COMMAND_BYTES_MAX: Final = 8 * 1024 * 1024  # of one answer; a lineage has some 100 kB
HISTORIES_MAX: Final = 2  # read from topics: two clients of the broker each
DRAWN_MAX: Final = 16  # drawn jobs kept: they do not change, and take seconds to draw
EVIDENCE_S: Final = 60.0  # how long evidence is kept: it moves by the outcome, and takes seconds

CALLS_OPEN_MAX: Final = 200  # some seconds of one sampler; beyond, calls would wait past deadlines
CALL_WAIT_S: Final = 5.0  # until it is worth asking again
PROJECTED_MS: Final = 30_000  # a value is in the cache in milliseconds; later it is not to come
DELIVERY_S: Final = 5.0  # a broker acknowledges in milliseconds; a caller waits for it

# What is remembered of topics.
JOBS_KEPT: Final = 5_000  # of .5 kB; the ledger drops finished ones itself after a while
CASES_KEPT: Final = 5_000  # of 2 kB
CONTROLS_KEPT: Final = 10_000  # as `rollout.control` holds; ours write a handful
EVENTS_SHOWN_MAX: Final = 500  # transitions of one job; some five, unless it went wrong for hours
CALLS_REMEMBERED: Final = 500  # of 40 kB where large; above what may be open at once
LIST_MAX: Final = 500
LIST: Final = 50
HISTORY_POINTS: Final = 90  # readings kept: three minutes
ANSWERS_POINTS: Final = 30  # readings that shares of verdicts are of: one minute
ANSWERS_READ_MAX: Final = 200  # answers read of each partition at each reading: a sample of them

# Of sessions.
SESSIONS_MAX: Final = 64
SESSION_S: Final = 8 * 3_600.0  # a shift
TOKEN_CHARACTERS_MIN: Final = 16
