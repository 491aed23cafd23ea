import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Starts a run by a command to Mission Bridge and waits for its result.
 *
 * <pre>
 * mvn -q dependency:copy-dependencies -DoutputDirectory=jars
 * java -cp "jars/*" SendCommand.java localhost:9092 http://localhost:8081 MISSION_ID [TOPIC_PREFIX]
 * </pre>
 *
 * Prints the result; exit code 0 if the run was started, 1 if not, 75 if no result came in a minute.
 * The wire format is written out, so that no serializer from another repository is needed: a zero, the
 * schema's id in four bytes, Avro.
 */
public final class SendCommand {
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private final HttpClient http = HttpClient.newHttpClient();
  private final String brokers;
  private final String registry;

  private SendCommand(String brokers, String registry) {
    this.brokers = brokers;
    this.registry = registry;
  }

  public static void main(String[] args) throws Exception {
    if (args.length < 3 || args.length > 4) {
      System.err.println("SendCommand BROKERS REGISTRY_URL MISSION_ID [TOPIC_PREFIX]");
      System.exit(64);
    }
    String prefix = args.length == 4 ? args[3] : "missions";
    System.exit(new SendCommand(args[0], args[1]).startRun(args[2], prefix));
  }

  private int startRun(String missionId, String prefix) throws Exception {
    // Yours to choose: sent again under the same id, it is carried out once all the same.
    String commandId = UUID.randomUUID().toString();
    try (KafkaConsumer<String, byte[]> results = atTheEndOf(prefix + ".command-results")) {
      send(prefix + ".commands", commandId, missionId);
      GenericRecord result = waitForResult(results, commandId);
      if (result == null) {
        System.err.println("no result of " + commandId + " in " + PATIENCE.toSeconds() + " s");
        return 75;
      }
      System.out.println(result);
      return Set.of("SUCCEEDED", "ALREADY_DONE").contains(result.get("status").toString()) ? 0 : 1;
    }
  }

  /** Returns a consumer that shows what is written to a topic from now on. */
  private KafkaConsumer<String, byte[]> atTheEndOf(String topic) {
    Map<String, Object> config =
        Map.of("bootstrap.servers", brokers, "isolation.level", "read_committed");
    var consumer =
        new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer());
    List<TopicPartition> partitions =
        consumer.partitionsFor(topic).stream()
            .map(found -> new TopicPartition(topic, found.partition()))
            .toList();
    consumer.assign(partitions);
    consumer.endOffsets(partitions).forEach(consumer::seek);
    return consumer;
  }

  /** Writes a command. The client's own partitioner puts its key where the bridge expects it. */
  private void send(String topic, String commandId, String missionId) throws Exception {
    JsonNode latest = ask("/subjects/" + topic + "-value/versions/latest");
    Schema schema = new Schema.Parser().parse(latest.get("schema").asText());
    Schema startRun =
        schema.getField("body").schema().getTypes().stream()
            .filter(branch -> branch.getName().equals("StartRun"))
            .findFirst()
            .orElseThrow();
    GenericRecord command =
        new GenericRecordBuilder(schema)
            .set("command_id", commandId)
            .set("type", "start_run")
            .set("mission_id", missionId)
            .set("issued_at", ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now()))
            .set("body", new GenericRecordBuilder(startRun).set("input", "{\"city\":\"Oslo\"}").build())
            .build();
    Map<String, Object> config = Map.of("bootstrap.servers", brokers);
    try (var producer =
        new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer())) {
      byte[] value = encode(command, latest.get("id").asInt());
      producer.send(new ProducerRecord<>(topic, missionId, value)).get();
    }
  }

  private GenericRecord waitForResult(KafkaConsumer<String, byte[]> results, String commandId)
      throws Exception {
    Instant deadline = Instant.now().plus(PATIENCE);
    while (Instant.now().isBefore(deadline)) {
      for (ConsumerRecord<String, byte[]> record : results.poll(Duration.ofSeconds(1))) {
        GenericRecord result = decode(record.value());
        // IN_DOUBT that is not final is still being looked into: another result follows.
        boolean settled =
            (boolean) result.get("final") || !result.get("status").toString().equals("IN_DOUBT");
        if (result.get("command_id").toString().equals(commandId) && settled) {
          return result;
        }
      }
    }
    return null;
  }

  private static byte[] encode(GenericRecord value, int schemaId) throws Exception {
    var out = new ByteArrayOutputStream();
    out.write(ByteBuffer.allocate(5).put((byte) 0).putInt(schemaId).array());
    BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
    new GenericDatumWriter<GenericRecord>(value.getSchema()).write(value, encoder);
    encoder.flush();
    return out.toByteArray();
  }

  private GenericRecord decode(byte[] data) throws Exception {
    int schemaId = ByteBuffer.wrap(data, 1, 4).getInt();
    Schema schema =
        new Schema.Parser().parse(ask("/schemas/ids/" + schemaId).get("schema").asText());
    var decoder = DecoderFactory.get().binaryDecoder(data, 5, data.length - 5, null);
    return new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
  }

  private JsonNode ask(String path) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(URI.create(registry + path)).build();
    HttpResponse<byte[]> answer = http.send(request, HttpResponse.BodyHandlers.ofByteArray());
    if (answer.statusCode() != 200) {
      throw new IllegalStateException("the registry answers " + answer.statusCode() + " to " + path);
    }
    return new ObjectMapper().readTree(answer.body());
  }
}
