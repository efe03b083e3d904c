package enrichment.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;

/**
 * The work of our hot path on one payment: decode, read, verdicts, scores, and the enriched record.
 *
 * <p>Left out, to the peer's gain: digests, dead letters, and the markers of a projection that is
 * being rebuilt.
 */
final class Enricher {

    /** Where a record stood. */
    record Origin(String topic, int partition, long offset) {}

    record Enriched(Payment event, byte[] value) {}

    /** A (role, group) that terms read, with each feature's prior. */
    private record Wanted(String role, String group, Map<String, Double> priors) {}

    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final ObjectReader PAYMENTS = MAPPER.readerFor(Payment.class);
    private static final ObjectReader UPDATES = MAPPER.readerFor(Update.class);
    private static final JsonFactory JSON = MAPPER.getFactory();

    private final Table table;
    private final Verdict.Rules rules;
    private final Scorer scorer;
    private final List<Wanted> wanted = new ArrayList<>();

    Enricher(byte[] table) throws IOException {
        this.table = MAPPER.readValue(table, Table.class);
        rules = new Verdict.Rules(this.table.features());
        scorer = new Scorer(this.table.score());
        Map<String, Wanted> found = new TreeMap<>();
        for (Table.Term term : this.table.score().terms()) {
            for (String reference : new String[] {term.value(), term.over()}) {
                if (reference == null || reference.startsWith("event.")) {
                    continue;
                }
                Scorer.Operand operand = Scorer.Operand.of(reference);
                found.computeIfAbsent(operand.role() + "." + operand.group(),
                        k -> new Wanted(operand.role(), operand.group(), new LinkedHashMap<>()))
                    .priors().putIfAbsent(operand.feature(), term.over() == null ? term.prior() : 0.0);
            }
        }
        wanted.addAll(found.values());  // by group within a role, roles as the pipeline has them
        wanted.sort(Comparator.comparingInt(each -> this.table.roles().indexOf(each.role())));
    }

    /** The enriched record of a payment; `read` is one MGET: values by position, null for none. */
    Enriched enrich(byte[] value, Origin origin, Function<byte[][], List<byte[]>> read, long nowMs)
            throws IOException {
        Payment event = PAYMENTS.readValue(value);
        Map<String, Integer> position = new LinkedHashMap<>();
        position.put(key("shard", event.region(), "graph"), 0);
        for (Wanted each : wanted) {
            String id = event.entity(each.role());
            position.putIfAbsent(key(each.role(), id, each.group()), position.size());
            if (each.group().equals("ring")) {
                position.putIfAbsent(key(each.role(), id, "graph"), position.size());
            }
        }
        byte[][] keys = new byte[position.size()][];
        position.forEach((k, at) -> keys[at] = k.getBytes(StandardCharsets.UTF_8));
        List<byte[]> values = read.apply(keys);
        Update[] updates = new Update[keys.length];
        for (int i = 0; i < keys.length; i++) {
            updates[i] = values.get(i) == null ? null : UPDATES.readValue(values.get(i));
        }
        long atMs = rules.atMs(event, nowMs);
        List<Used> used = new ArrayList<>(wanted.size());
        Map<String, Used> usable = new HashMap<>();
        for (Wanted each : wanted) {
            String id = event.entity(each.role());
            Update update = updates[position.get(key(each.role(), id, each.group()))];
            Verdict verdict = each.group().equals("graph")
                ? rules.ofGraph(update, updates[0], atMs)
                : rules.ofRing(update, updates[position.get(key(each.role(), id, "graph"))],
                    updates[0], atMs);
            Used feature = used(each, id, update, verdict);
            used.add(feature);
            if (feature.update() != null) {
                usable.put(each.role() + "." + each.group(), feature);
            }
        }
        Scorer.Scored scored = scorer.score(event, usable);
        return new Enriched(event, encode(value, event, origin, nowMs, used, scored));
    }

    private String key(String role, String id, String group) {
        return "features:" + table.pipeline() + ":" + role + ":" + id + ":" + group;
    }

    private Used used(Wanted each, String id, Update update, Verdict verdict) {
        if (update == null || !verdict.usable()) {
            return new Used(each.role(), each.group(), id, verdict, null, Map.of(), Map.of());
        }
        Map<String, Map<String, Double>> estimates = new LinkedHashMap<>();
        if (update.estimates() != null) {
            update.estimates().forEach((path, of) -> estimates.put(path, kept(of, each, verdict)));
        }
        return new Used(each.role(), each.group(), id, verdict, update,
            kept(update.values(), each, verdict), estimates);
    }

    private Map<String, Double> kept(Map<String, Double> values, Wanted each, Verdict verdict) {
        Map<String, Double> kept = new LinkedHashMap<>();
        long ageMs = verdict.name().equals("stale") ? verdict.ageMs() : 0;
        each.priors().forEach((name, prior) -> {
            Double value = values == null ? null : values.get(name);
            if (value != null) {
                kept.put(name, ageMs == 0 ? value : rules.decayed(value, prior, ageMs));
            }
        });
        return kept;
    }

    /** An event's verdict: the worst of those on its rings, missing only where all are missing. */
    private static Verdict ofEvent(List<Used> used) {
        List<Verdict> verdicts =
            used.stream().filter(u -> u.group().equals("ring")).map(Used::verdict).toList();
        if (verdicts.isEmpty()) {
            verdicts = used.stream().map(Used::verdict).toList();
        }
        for (String name : Verdict.WORST_FIRST) {
            for (Verdict verdict : verdicts) {
                if (verdict.name().equals(name)) {
                    return verdict;
                }
            }
        }
        return verdicts.isEmpty() ? Verdict.of("missing", "never_seen") : verdicts.get(0);
    }

    private byte[] encode(byte[] raw, Payment event, Origin origin, long nowMs, List<Used> used,
                          Scorer.Scored scored) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream(2_048);
        try (JsonGenerator json = JSON.createGenerator(out)) {
            json.writeStartObject();
            json.writeStringField("event_id", event.eventId());
            json.writeStringField("pipeline", table.pipeline());
            json.writeObjectFieldStart("origin");
            json.writeStringField("topic", origin.topic());
            json.writeNumberField("partition", origin.partition());
            json.writeNumberField("offset", origin.offset());
            json.writeEndObject();
            json.writeNumberField("occurred_at_ms", event.occurredAt());
            json.writeNumberField("decided_at_ms", nowMs);
            json.writeFieldName("event");
            json.writeRawValue(new String(raw, StandardCharsets.UTF_8));
            verdict(json, ofEvent(used));
            json.writeStringField("path", scored.path());
            json.writeObjectFieldStart("scores");
            json.writeNumberField("served", scored.served());
            json.writeNumberField("heuristic", scored.heuristic());
            json.writeObjectField("classical", scored.classical());
            json.writeObjectField("quantum", scored.quantum());
            json.writeEndObject();
            json.writeStringField("level", scored.level());
            json.writeStringField("decision", scored.decision());
            json.writeArrayFieldStart("reasons");
            for (Scorer.Reason reason : scored.reasons()) {
                json.writeStartObject();
                json.writeStringField("term", reason.term());
                json.writeNumberField("contribution", Scorer.rounded(reason.contribution()));
                json.writeEndObject();
            }
            json.writeEndArray();
            json.writeArrayFieldStart("features");
            for (Used feature : used) {
                feature(json, feature);
            }
            json.writeEndArray();
            json.writeStringField("pipeline_version", table.version());
            json.writeStringField("score_version", table.score().version());
            json.writeStringField("correlation_id", "");
            json.writeEndObject();
        }
        return out.toByteArray();
    }

    private static void verdict(JsonGenerator json, Verdict verdict) throws IOException {
        json.writeObjectFieldStart("verdict");
        json.writeStringField("name", verdict.name());
        json.writeStringField("reason", verdict.reason());
        json.writeEndObject();
    }

    private static void feature(JsonGenerator json, Used used) throws IOException {
        json.writeStartObject();
        json.writeStringField("role", used.role());
        json.writeStringField("kind", used.role()); // in payments, a role's kind is its name
        json.writeStringField("id", used.id());
        json.writeStringField("group", used.group());
        verdict(json, used.verdict());
        if (used.update() != null) {
            json.writeNumberField("version", used.update().version());
        }
        if (used.verdict().ageMs() != 0) {
            json.writeNumberField("age_ms", used.verdict().ageMs());
        }
        if (used.update() != null) {
            if (!used.update().subgraph().isEmpty()) {
                json.writeStringField("subgraph", used.update().subgraph());
            }
            if (!used.update().jobId().isEmpty()) {
                json.writeStringField("job_id", used.update().jobId());
            }
            if (!used.values().isEmpty()) {
                numbers(json, "values", used.values());
            }
            if (!used.estimates().isEmpty()) {
                json.writeObjectFieldStart("estimates");
                for (Map.Entry<String, Map<String, Double>> path : used.estimates().entrySet()) {
                    numbers(json, path.getKey(), path.getValue());
                }
                json.writeEndObject();
            }
        }
        json.writeEndObject();
    }

    private static void numbers(JsonGenerator json, String name, Map<String, Double> numbers)
            throws IOException {
        json.writeObjectFieldStart(name);
        for (Map.Entry<String, Double> number : numbers.entrySet()) {
            json.writeNumberField(number.getKey(), number.getValue());
        }
        json.writeEndObject();
    }
}
