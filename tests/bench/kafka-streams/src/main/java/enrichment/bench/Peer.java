package enrichment.bench;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import redis.clients.jedis.Jedis;

/**
 * Kafka Streams doing what the hot path does: one thread, one blocking MGET per record.
 *
 * <p>Options: --bootstrap --group --source --target --guarantee --batch-events --state, and for the
 * same work --redis-host --redis-port --table.
 */
public final class Peer {

    /** Commits ten times a second: the default of exactly-once, and for at least once as well. */
    private static final int COMMIT_MS = 100;

    private Peer() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 2 && arguments[0].equals("--check")) {
            Check.run(Path.of(arguments[1]), System.in, System.out);
            return;
        }
        Map<String, String> given = new HashMap<>();
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            given.put(arguments[i], arguments[i + 1]);
        }
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> source = builder.stream(
            given.get("--source"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
        if (given.containsKey("--table")) {
            byte[] table = Files.readAllBytes(Path.of(given.get("--table")));
            Enricher enricher = new Enricher(table);
            source = source.process(() -> new Enrich(enricher, given.get("--redis-host"),
                Integer.parseInt(given.get("--redis-port"))));
        }
        source.to(given.get("--target"), Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
        CountDownLatch ended = new CountDownLatch(1);
        try (KafkaStreams streams = new KafkaStreams(builder.build(), settings(given))) {
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                ended.countDown();
                return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
            });
            Runtime.getRuntime().addShutdownHook(
                new Thread(() -> streams.close(Duration.ofSeconds(10))));
            streams.start();
            ended.await();
        }
    }

    private static Properties settings(Map<String, String> given) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("--group"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("--bootstrap"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, given.get("--guarantee"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("--state"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, COMMIT_MS);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), given.get("--batch-events"));
        settings.put(StreamsConfig.consumerPrefix("isolation.level"), "read_committed");
        settings.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        // The default of 16 KiB is fifteen enriched records: a request for each would be the limit.
        settings.put(StreamsConfig.producerPrefix("batch.size"), 262_144);
        return settings;
    }

    /** The work of the hot path on one record. */
    private static final class Enrich extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
        private final Enricher enricher;
        private final Jedis redis;

        Enrich(Enricher enricher, String host, int port) {
            this.enricher = enricher;
            redis = new Jedis(host, port);
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            RecordMetadata at = context().recordMetadata().orElseThrow();
            Enricher.Origin origin = new Enricher.Origin(at.topic(), at.partition(), at.offset());
            try {
                Enricher.Enriched enriched = enricher.enrich(
                    record.value(), origin, redis::mget, System.currentTimeMillis());
                Payment event = enriched.event();
                context().forward(new Record<>(
                    event.accountId().getBytes(StandardCharsets.UTF_8), enriched.value(),
                    record.timestamp(), headers(event)));
            } catch (java.io.IOException error) {
                throw new IllegalStateException("not a payment: " + origin, error);
            }
        }

        @Override
        public void close() {
            redis.close();
        }

        /** CloudEvents headers of an enriched record. */
        private static Headers headers(Payment event) {
            Headers headers = new RecordHeaders();
            header(headers, "ce_specversion", "1.0");
            header(headers, "ce_type", "enrichment.enriched.v1");
            header(headers, "ce_source", "/enrichment/payments");
            header(headers, "ce_id", event.eventId());
            header(headers, "ce_time",
                Instant.ofEpochMilli(event.occurredAt()).truncatedTo(ChronoUnit.MILLIS).toString());
            header(headers, "content-type", "application/json");
            return headers;
        }

        private static void header(Headers headers, String name, String value) {
            headers.add(name, value.getBytes(StandardCharsets.UTF_8));
        }
    }
}
