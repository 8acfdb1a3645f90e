// Two analog sensors as CSV lines, ten readings a second: docs/line-protocol.md.
//
//   flow [l/min],pressure [bar]
//   32.50,2.41
//
// The header is sent at the start and again every five seconds: `edge-agent init` listens for ten and learns the names.
// A sensor that gives nonsense (a torn wire reads the end of the scale) sends an empty field: a missing value.

const unsigned long PERIOD_MS = 100;
const unsigned int READINGS_PER_HEADER = 50;

const int FLOW_PIN = A0;
const int PRESSURE_PIN = A1;

const float FLOW_PER_COUNT = 80.0 / 1023.0;      // l/min; 0 to 80 over the converter's range
const float PRESSURE_PER_COUNT = 10.0 / 1023.0;  // bar; 0 to 10
const int TORN_WIRE = 1023;                      // counts

unsigned long next_ms = 0;
unsigned int readings = 0;

void print_reading(int counts, float per_count) {
  if (counts < TORN_WIRE) {
    Serial.print(counts * per_count, 2);
  }
}

void setup() {
  Serial.begin(115200);
  next_ms = millis();
}

void loop() {
  // The difference of unsigned times stays right when millis() begins anew after 50 days.
  if ((long)(millis() - next_ms) < 0) {
    return;
  }
  next_ms += PERIOD_MS;
  if (readings == 0) {
    Serial.println("flow [l/min],pressure [bar]");
  }
  readings = (readings + 1) % READINGS_PER_HEADER;
  print_reading(analogRead(FLOW_PIN), FLOW_PER_COUNT);
  Serial.print(',');
  print_reading(analogRead(PRESSURE_PIN), PRESSURE_PER_COUNT);
  Serial.println();
}
