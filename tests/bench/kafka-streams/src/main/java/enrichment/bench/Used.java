package enrichment.bench;

import java.util.Map;

/** One group of one entity's features as the score saw it, decay already applied. */
record Used(String role, String group, String id, Verdict verdict, Update update,
            Map<String, Double> values, Map<String, Map<String, Double>> estimates) {}
