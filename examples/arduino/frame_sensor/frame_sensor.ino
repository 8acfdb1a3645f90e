// A three-axis analog accelerometer as binary frames, a thousand readings a second: docs/line-protocol.md.
//
// For boards with native USB or a fast serial line; rows are int16 with a scale, 25 rows a frame, 40 frames a second.
// Frames are written as they are in memory: the board must be little-endian, as AVR, ARM, ESP32 and RP2040 are.

#include <stdint.h>
#include <string.h>

const unsigned long PERIOD_US = 1000;
const uint16_t CHANNELS = 3;
const uint16_t ROWS = 25;
const float G_PER_COUNT = 6.0 / 1023.0;  // 6 g over the converter's range
const int ZERO_G = 512;                  // counts

const uint8_t INT16_ROWS = 1;  // flag

struct __attribute__((packed)) Frame {
  uint8_t sync[2];
  uint8_t version;
  uint8_t flags;
  uint16_t length;
  uint16_t sequence;
  uint16_t channels;
  uint16_t rows;
  float scale[CHANNELS];
  int16_t values[ROWS][CHANNELS];
  uint16_t crc;
};

Frame frame;
uint16_t row = 0;
unsigned long next_us = 0;

// CRC-16/CCITT-FALSE: "123456789" gives 0x29B1.
uint16_t crc16(const uint8_t *data, size_t size) {
  uint16_t crc = 0xFFFF;
  for (size_t i = 0; i < size; i++) {
    crc ^= (uint16_t)data[i] << 8;
    for (int bit = 0; bit < 8; bit++) {
      crc = (crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1;
    }
  }
  return crc;
}

void send_frame() {
  const uint8_t *bytes = (const uint8_t *)&frame;
  frame.crc = crc16(bytes + sizeof frame.sync, sizeof frame - sizeof frame.sync - sizeof frame.crc);
  Serial.write(bytes, sizeof frame);
  frame.sequence++;
}

void setup() {
  Serial.begin(1000000);
  frame.sync[0] = 0xA5;
  frame.sync[1] = 0x5A;
  frame.version = 1;
  frame.flags = INT16_ROWS;
  frame.length = sizeof frame.scale + sizeof frame.values;
  frame.sequence = 0;
  frame.channels = CHANNELS;
  frame.rows = ROWS;
  for (int i = 0; i < CHANNELS; i++) {
    frame.scale[i] = G_PER_COUNT;
  }
  next_us = micros();
}

void loop() {
  if ((long)(micros() - next_us) < 0) {
    return;
  }
  next_us += PERIOD_US;
  frame.values[row][0] = analogRead(A0) - ZERO_G;
  frame.values[row][1] = analogRead(A1) - ZERO_G;
  frame.values[row][2] = analogRead(A2) - ZERO_G;
  row++;
  if (row == ROWS) {
    row = 0;
    send_frame();
  }
}
