package enrichment.bench;

import java.util.List;

/** A verdict on age with its reason and the age that stale values decay by: `feature/verdict.py`. */
record Verdict(String name, String reason, long ageMs, boolean isVoid) {

    static final List<String> WORST_FIRST = List.of("fallback", "stale", "fresh");

    static Verdict of(String name, String reason) {
        return new Verdict(name, reason, 0, false);
    }

    boolean usable() {
        return !isVoid && (name.equals("fresh") || name.equals("stale"));
    }

    /** The rules of a pipeline's `[features]`. */
    record Rules(Table.Features table) {

        private boolean byEventTime() {
            return table.clock().equals("event");
        }

        private long timeMs(Update value) {
            return byEventTime() ? value.eventTimeMs() : value.computedAtMs();
        }

        /** When an event is judged. */
        long atMs(Payment event, long nowMs) {
            return byEventTime() ? event.occurredAt() : nowMs;
        }

        Verdict ofGraph(Update graph, Update heard, long nowMs) {
            if (graph == null) {
                return of("missing", "never_seen");
            }
            if (timeMs(graph) > nowMs + table.skewMs()) {
                return of("fallback", "from_the_future");
            }
            boolean silent = heard == null || timeMs(heard) > nowMs + table.skewMs();
            long silentMs = Math.max(0, nowMs - timeMs(silent ? graph : heard));
            return silentMs <= table.freshMs() ? of("fresh", "shard_heard")
                                               : aged("shard_silent", silentMs);
        }

        Verdict ofRing(Update ring, Update graph, Update heard, long nowMs) {
            if (graph == null) {
                if (ring == null) {
                    return of("missing", "never_seen");
                }
                return timeMs(ring) > nowMs + table.skewMs()
                    ? of("fallback", "from_the_future")
                    : aged("subgraph_unknown", Math.max(0, nowMs - timeMs(ring)));
            }
            Verdict shown = ofGraph(graph, heard, nowMs);
            boolean isHeard = shown.reason().equals("shard_heard");
            if (shown.reason().equals("from_the_future")) {
                return shown;
            }
            if (graph.subgraph().isEmpty()) {
                return isHeard ? new Verdict("fresh", "in_no_subgraph", 0, true)
                               : new Verdict(shown.name(), shown.reason(), shown.ageMs(), true);
            }
            if (ring == null) {
                return of("missing", "not_sampled_yet");
            }
            if (timeMs(ring) > nowMs + table.skewMs()) {
                return of("fallback", "from_the_future");
            }
            if (ring.subgraph().equals(graph.subgraph())) {
                return isHeard ? of("fresh", "subgraph_unchanged") : shown;
            }
            Double since = graph.values() == null ? null : graph.values().get("subgraph_since_ms");
            long changedMs =
                Math.min(since == null ? timeMs(ring) : since.longValue(), timeMs(graph));
            return aged("subgraph_changed", Math.max(0, nowMs - changedMs));
        }

        private Verdict aged(String reason, long ageMs) {
            return ageMs <= table.staleMs() ? new Verdict("stale", reason, ageMs, false)
                                            : new Verdict("fallback", "too_old", ageMs, false);
        }

        double decayed(double value, double prior, long ageMs) {
            double remaining = Math.pow(0.5, (double) ageMs / table.halfLifeMs());
            return prior + (value - prior) * remaining;
        }
    }
}
