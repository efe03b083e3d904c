package enrichment.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Enriches what it is given, for a test that compares it with ours.
 *
 * <p>A line in is {"event": text, "cache": {key: text}, "now_ms": time}; a line out is a record.
 */
final class Check {

    private Check() {}

    static void run(Path table, InputStream in, PrintStream out) throws IOException {
        Enricher enricher = new Enricher(Files.readAllBytes(table));
        ObjectMapper mapper = new ObjectMapper();
        BufferedReader lines =
            new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode given = mapper.readTree(line);
            JsonNode cache = given.get("cache");
            byte[] event = given.get("event").asText().getBytes(StandardCharsets.UTF_8);
            Enricher.Origin origin = new Enricher.Origin("payments.events", 0, 0);
            Enricher.Enriched enriched = enricher.enrich(event, origin, keys -> {
                List<byte[]> found = new ArrayList<>();
                for (byte[] key : keys) {
                    JsonNode value = cache.get(new String(key, StandardCharsets.UTF_8));
                    found.add(value == null ? null : value.asText().getBytes(StandardCharsets.UTF_8));
                }
                return found;
            }, given.get("now_ms").asLong());
            out.println(new String(enriched.value(), StandardCharsets.UTF_8));
        }
    }
}
