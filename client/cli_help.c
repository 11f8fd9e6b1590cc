#include <string.h>

#include "client/cli.h"
#include "proto/utf8.h"

const struct verb cli_verbs[] = {
    {"status", "[--live]", "the cluster, as the nodes reached see it",
     "Asks all endpoints at once, and the members that they name. A node that "
     "doesn't answer is\nlisted as unreachable, with the number - (in JSON "
     "null) if nobody knows whose address that is.\nOf the batons that are "
     "held it shows 20, and how many more there are "
     "(in JSON batons_more); baton sessions NS\nlists them all.\n\n"
     "  --live    a table that refreshes twice a second until Ctrl-C\n\n"
     "  baton status\n"
     "  baton --json status | jq '.nodes[] | select(.role == \"leader\").id'\n",
     cli_status},
    {"session",
     "open --group NS/G --device D --tab T [--cap K=V,...] [--observer] "
     "[--ttl 10s]",
     "opens a session, holds it, and tells its roles",
     "Stays in the foreground and renews its lease. Prints a line when it is "
     "opened, at each change of\nrole, and when it is closed. Ctrl-C (or "
     "SIGTERM) closes it, which hands what it leads to the backup;\nSIGKILL "
     "lets it expire after the TTL.\n\n"
     "  --cap       what it reports of itself: battery=0..100, charging=0|1, "
     "kind=desktop|laptop|tablet|phone|server,\n"
     "              network=ethernet|wifi|4g|3g|slow|none, rtt_ms, "
     "visible=0|1, cores, memory_mb, priority=-100..100\n"
     "  --observer  never leads\n"
     "  --ttl       1s to 10m\n\n"
     "  baton session open --group acme/alice --device laptop --tab tab-1 "
     "--cap battery=80,charging=1\n",
     cli_session},
    {"sessions", "[NS[/G]] [--stale]", "lists sessions",
     "  --stale   any node's view, also without a majority; stderr says how "
     "old\n\n"
     "  baton sessions acme/alice\n",
     cli_sessions},
    {"leader", "NS/G [D] [--stale]", "who holds the baton",
     "Of a group, or of a device in it. The answer is confirmed by a majority "
     "after you asked, unless\n--stale takes any node's view, with its age on "
     "stderr. "
     "Exit code 2: nobody leads.\n\n"
     "  baton leader acme/alice\n"
     "  baton leader acme/alice laptop --stale\n",
     cli_leader},
    {"explain", "NS/G [D] [--stale]", "every candidate's score, part by part",
     "Points are value times the namespace's weight; what a session doesn't "
     "report is marked ? and counts\nneutrally. See baton policy get.\n\n"
     "  baton explain acme/alice laptop\n",
     cli_explain},
    {"verify", "NS/G [D] EPOCH [--stale]", "is this epoch the current one?",
     "Exit code 0 if it is, 4 if not; prints the current one either way, 0 if "
     "nobody leads or there is no such\ngroup.\n\n"
     "  --stale   any node's view, also without a majority\n\n"
     "  baton verify acme/alice 1042 || stop_writing\n",
     cli_verify},
    {"watch", "[NS[/G]] [--from REVISION]", "the state, then what happens",
     "Prints the state, then each event in order of revisions until Ctrl-C; "
     "goes on at another node when one\nfails, without a gap or a duplicate. "
     "--from skips the state and starts with that revision.\n\n"
     "  baton watch acme/alice\n"
     "  baton --json watch acme --from 1042\n",
     cli_watch},
    {"events", "[NS[/G]] --from R [--to R]", "the kept history",
     "The same lines as watch, as one node has them: stderr says when it last "
     "heard of a leader.\nExit code 4 if that revision isn't kept any "
     "more.\n\n"
     "  baton events acme/alice --from 1 --to 2000\n",
     cli_events},
    {"handoff", "NS/G [D] --to SESSION", "passes the baton to a session",
     "The successor accepts, the holder stops and hands over, then the grant: "
     "waits for that, and says how it\nended. Exit code 4: declined, lapsed, "
     "or overtaken.\n\n"
     "  baton handoff acme/alice laptop --to 1057\n",
     cli_handoff},
    {"resign", "NS/G [D] EPOCH", "gives the baton of that epoch up",
     "Refused if the epoch isn't the current one.\n\n"
     "  baton resign acme/alice laptop 1042\n",
     cli_resign},
    {"demote", "NS/G [D] --reason TEXT", "takes the baton away",
     "The backup has it at once. Refused if nobody else can lead.\n\n"
     "  baton demote acme/alice laptop --reason 'does not answer'\n",
     cli_demote},
    {"policy", "get NS | set NS FILE", "weights, margins, tenures, limits",
     "As JSON, FILE - is standard input. A field that is unknown, of a wrong "
     "type or out of range refuses the\nwhole and is named; one left out "
     "takes its default.\n\n"
     "  baton policy get acme > acme.json\n"
     "  baton policy set acme acme.json\n"
     "  echo '{\"weights\": {\"battery\": 2}, \"margin\": 50}' | baton policy "
     "set acme -\n",
     cli_policy},
    {"elect", "NS/G [--tab NAME] [--ttl 10s] -- COMMAND...",
     "runs COMMAND only while it holds the baton",
     "Campaigns for the group with a device of its own, and starts COMMAND "
     "when it leads, with BATON_EPOCH and\nBATON_SCOPE set. If it is to lose "
     "the baton, COMMAND's process group gets SIGTERM, and all that COMMAND\n"
     "started gets SIGKILL before the right to lead ends. What COMMAND leaves "
     "behind when it exits is killed, too.\nExits with COMMAND's code, 128 + "
     "signal if it was killed; options behind -- are COMMAND's.\n\n"
     "A guard (the process elect-guard) sees to that also if baton elect is "
     "stopped (SIGSTOP) or killed (SIGKILL).\nIf the guard is killed, elect "
     "does, and exits with 137. Not covered: both killed at once (then COMMAND "
     "itself\nends, but not what it started), the guard stopped and elect "
     "killed, processes of another user (sudo), and what\nothers start for "
     "COMMAND (systemd-run, at, docker).\n\n"
     "  baton elect jobs/nightly -- ./run-the-nightly-job\n",
     cli_elect},
    {"transfer", "NODE", "moves Raft leadership to a node (0: the best one)",
     "  baton transfer 2\n", cli_transfer},
    {"member",
     "list | add NODE --peer HOST:PORT --client HOST:PORT [--http HOST:PORT] "
     "| promote NODE | remove NODE",
     "who belongs to the cluster",
     "A new node joins as a learner; promote it once it has caught up (baton "
     "status shows what each has applied).\n\n"
     "  baton member add 4 --peer 10.0.0.4:7101 --client 10.0.0.4:7201\n"
     "  baton member promote 4\n",
     cli_member},
    {"bench",
     "open|renew|leader|watch|churn [--clients N] [--total N] [--pipeline N]",
     "load, and what it came to",
     "  open     durable session opens       leader   linearizable lookups\n"
     "  renew    leases with many sessions    watch    from an event's cause "
     "to its arrival\n"
     "  churn    opens and closes\n\n"
     "  --clients    connections, 4\n"
     "  --total      operations that count, 100000; a tenth more to warm up\n"
     "  --pipeline   in flight on each connection, 64\n"
     "  --sessions   renew: on each lease, 10000\n"
     "  --seconds    renew: how long, 10; more than a third of --ttl, when a "
     "lease is renewed\n"
     "  --keep       leave the sessions open until the leases expire\n"
     "  --tabs, --devices   open: tabs a device (4), devices a group (2)\n"
     "  --ttl        of the leases, 10s\n\n"
     "  baton bench open --clients 4 --pipeline 250 --total 500000\n",
     cli_bench},
    {NULL, NULL, NULL, NULL, NULL},
};

const struct verb *cli_find_verb(const char *name)
{
    for (const struct verb *v = cli_verbs; v->name != NULL; v++) {
        if (strcmp(v->name, name) == 0) {
            return v;
        }
    }
    return NULL;
}

static void help_all(void)
{
    (void)printf(
        "baton - leader election and session coordination\n\n"
        "usage: baton [--endpoints HOST:PORT,...] [--json] [--timeout 5s] "
        "VERB ...\n\n");
    for (const struct verb *v = cli_verbs; v->name != NULL; v++) {
        (void)printf("  %-9s %s\n", v->name, v->summary);
    }
    (void)printf(
        "  help      [VERB]\n\n"
        "  --endpoints  nodes to ask; else BATON_ENDPOINTS, else "
        "127.0.0.1:7201,127.0.0.1:7202,127.0.0.1:7203\n"
        "  --tls-ca, --tls-cert-key  PEM files, for a cluster with TLS; else "
        "BATON_TLS_CA, BATON_TLS_CERT_KEY\n"
        "  --json       one object a line: ids are strings, times end in _ms\n"
        "  --timeout    how long a request may take, 5s\n\n"
        "NS/G is a group in a namespace, such as acme/alice; D one of its "
        "devices.\n\n"
        "exit codes: 0 done; 1 usage; 2 there is none (no leader, no such "
        "session); 3 no quorum, or nobody\nreachable, before --timeout; 4 "
        "refused (stale epoch, expired, not allowed, conflict)\n");
}

int cli_help(const char *name)
{
    if (name == NULL) {
        help_all();
        return CLI_DONE;
    }
    const struct verb *v = cli_find_verb(name);
    if (v == NULL) {
        char shown[256];
        utf8_show(codec_text(name), shown, sizeof shown);
        (void)fprintf(
            stderr, "baton: there is no verb \"%s\": see baton help\n", shown);
        return CLI_USAGE;
    }
    (void)printf("usage: baton %s %s\n\n%s\n\n%s", v->name, v->form, v->summary,
                 v->help);
    return CLI_DONE;
}
