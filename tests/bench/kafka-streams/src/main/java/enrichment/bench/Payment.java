package enrichment.bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.annotation.JsonNaming;

/** The fields of a payment that its pipeline needs; others are skipped. */
@JsonIgnoreProperties(ignoreUnknown = true)
@JsonNaming(PropertyNamingStrategies.SnakeCaseStrategy.class)
record Payment(String eventId, String accountId, long occurredAt, double amount, String deviceId,
               String beneficiaryId, String region) {

    /** The id that the event has in this role. */
    String entity(String role) {
        return switch (role) {
            case "account" -> accountId;
            case "device" -> deviceId;
            case "beneficiary" -> beneficiaryId;
            default -> throw new IllegalArgumentException("payments have no " + role);
        };
    }

    /** The number in this field. */
    double number(String field) {
        if (!field.equals("amount")) {
            throw new IllegalArgumentException("payments have no number " + field);
        }
        return amount;
    }
}
