package enrichment.bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.annotation.JsonNaming;
import java.util.List;

/** What a pipeline file says of features and score, as the benchmark hands it over in JSON. */
@JsonIgnoreProperties(ignoreUnknown = true)
@JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
record Table(String pipeline, String version, List<String> roles, Features features, Score score) {

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
    record Features(long freshMs, long staleMs, long halfLifeMs, long skewMs, String clock) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
    record Score(String version, String serve, double bias, Levels levels, Decisions decisions,
                 List<Term> terms) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Levels(double elevated, double highest) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    @JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
    record Decisions(String normal, String elevated, String highest, String notAssessed) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    record Term(String name, String value, String over, String transform, double prior,
                double threshold, double maximum, double weight) {

        /** The term's transform and weight, of its quotient. */
        double contribution(double quotient) {
            double bounded = Math.min(quotient, maximum);
            return switch (transform) {
                case "log1p" -> bounded > 0 ? weight * Math.log1p(bounded) : 0.0;
                case "above" -> quotient > threshold ? weight : 0.0;
                case "identity" -> weight * Math.max(bounded, -maximum);
                default -> throw new IllegalArgumentException("no transform " + transform);
            };
        }
    }
}
