package enrichment.bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.annotation.JsonNaming;
import java.util.Map;

/** One group of one entity's features, as the cache holds it. */
@JsonIgnoreProperties(ignoreUnknown = true)
@JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
record Update(long version, String subgraph, long eventTimeMs, long computedAtMs,
              Map<String, Double> values, Map<String, Map<String, Double>> estimates,
              Source source) {

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
    record Source(String jobId) {}

    /** The job that the values came from, "" where there was none. */
    String jobId() {
        return source == null || source.jobId() == null ? "" : source.jobId();
    }
}
