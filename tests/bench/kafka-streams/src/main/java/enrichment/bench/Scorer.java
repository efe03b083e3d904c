package enrichment.bench;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;

/** Log-odds from a pipeline's terms, for every path at once: `enrich/score.py`. */
final class Scorer {

    record Reason(String term, double contribution) {}

    /** `classical` and `quantum` are null where no estimate of that path is known. */
    record Scored(String path, double served, double heuristic, Double classical, Double quantum,
                  String level, String decision, List<Reason> reasons) {}

    /** A reference, `event.FIELD` or `ROLE.GROUP.FEATURE`, taken apart. */
    record Operand(String role, String group, String feature) {
        static Operand of(String reference) {
            String[] parts = reference.split("\\.");
            return parts.length == 2 ? new Operand("event", "", parts[1])
                                     : new Operand(parts[0], parts[1], parts[2]);
        }

        boolean ring() {
            return group.equals("ring");
        }
    }

    private record Addend(Table.Term term, Operand value, Operand over, double atPrior) {
        boolean ring() {
            return value.ring() || (over != null && over.ring());
        }
    }

    private static final double LOG_ODDS_MAX = 35.0;
    private static final int REASONS_MAX = 5;
    private static final Comparator<Reason> LARGEST_FIRST =
        Comparator.<Reason>comparingDouble(r -> -Math.abs(r.contribution()))
            .thenComparing(Reason::term);

    private final Table.Score table;
    private final List<Addend> common = new ArrayList<>();
    private final List<Addend> rings = new ArrayList<>();

    Scorer(Table.Score table) {
        this.table = table;
        for (Table.Term term : table.terms()) {
            Operand over = term.over() == null ? null : Operand.of(term.over());
            Addend addend = new Addend(
                term, Operand.of(term.value()), over, term.contribution(term.prior()));
            (addend.ring() ? rings : common).add(addend);
        }
    }

    Scored score(Payment event, Map<String, Used> used) {
        List<Reason> reasons = new ArrayList<>(common.size() + rings.size());
        double shared = table.bias();
        boolean assessed = false;
        for (Addend addend : common) {
            Double part = contribution(addend, event, used, "heuristic");
            shared += part == null ? addend.atPrior() : part;
            reasons.add(new Reason(addend.term().name(), part == null ? addend.atPrior() : part));
            assessed |= part != null;
        }
        double[] heuristic = new double[rings.size()];
        for (int i = 0; i < heuristic.length; i++) {
            heuristic[i] = rings.get(i).atPrior();
        }
        double[] classical = parts(event, used, "classical");
        double[] quantum = parts(event, used, "quantum");
        String path = table.serve().equals("quantum") && quantum != null ? "quantum"
            : !table.serve().equals("heuristic") && classical != null ? "classical" : "heuristic";
        double[] served = switch (path) {
            case "quantum" -> quantum;
            case "classical" -> classical;
            default -> heuristic;
        };
        for (int i = 0; i < served.length; i++) {
            reasons.add(new Reason(rings.get(i).term().name(), served[i]));
        }
        reasons.removeIf(reason -> reason.contribution() == 0.0);
        reasons.sort(LARGEST_FIRST);
        if (reasons.size() > REASONS_MAX) {
            reasons = reasons.subList(0, REASONS_MAX);
        }
        double score = score(shared, served);
        String level = !assessed ? "not_assessed" : score >= table.levels().highest() ? "highest"
            : score >= table.levels().elevated() ? "elevated" : "normal";
        String decision = switch (level) {
            case "not_assessed" -> table.decisions().notAssessed();
            case "highest" -> table.decisions().highest();
            case "elevated" -> table.decisions().elevated();
            default -> table.decisions().normal();
        };
        return new Scored(path, score, score(shared, heuristic),
            classical == null ? null : (Double) score(shared, classical),
            quantum == null ? null : (Double) score(shared, quantum), level, decision, reasons);
    }

    /** The ring terms as this path sees them, null where it knows no estimate. */
    private double[] parts(Payment event, Map<String, Used> used, String path) {
        boolean known = false;
        for (Addend addend : rings) {
            Used ring = used.get(addend.value().role() + ".ring");
            known |= ring != null && ring.estimates().containsKey(path);
        }
        if (!known) {
            return null;
        }
        double[] parts = new double[rings.size()];
        for (int i = 0; i < parts.length; i++) {
            Double part = contribution(rings.get(i), event, used, path);
            parts[i] = part == null ? rings.get(i).atPrior() : part;
        }
        return parts;
    }

    /** A term's part; null where its value is not known. */
    private static Double contribution(
            Addend addend, Payment event, Map<String, Used> used, String path) {
        Double value = value(addend.value(), event, used, path);
        if (value == null) {
            return null;
        }
        if (addend.over() == null) {
            return addend.term().contribution(value);
        }
        Double over = value(addend.over(), event, used, path);
        return over == null || over == 0.0 ? addend.atPrior()
                                           : addend.term().contribution(value / over);
    }

    private static Double value(
            Operand operand, Payment event, Map<String, Used> used, String path) {
        if (operand.role().equals("event")) {
            return event.number(operand.feature());
        }
        Used found = used.get(operand.role() + "." + operand.group());
        if (found == null) {
            return null;
        }
        if (!operand.ring()) {
            return found.values().get(operand.feature());
        }
        Map<String, Double> estimate = found.estimates().get(path);
        if (estimate == null) {
            return null;
        }
        Double of = estimate.get(operand.feature());
        return of == null ? found.values().get(operand.feature()) : of;
    }

    private static double score(double shared, double[] parts) {
        double logOdds = shared;
        for (double part : parts) {
            logOdds += part;
        }
        double bounded = Math.max(-LOG_ODDS_MAX, Math.min(logOdds, LOG_ODDS_MAX));
        return rounded(100.0 / (1.0 + Math.exp(-bounded)));
    }

    /** To six decimals; in the last of them a tie may fall otherwise than in Python. */
    static double rounded(double x) {
        return Math.rint(x * 1e6) / 1e6;
    }
}
