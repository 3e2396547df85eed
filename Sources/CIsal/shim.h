// ISA-L's stream structures are too big for Swift to see as values (arrays of 64 KiB): they live on the heap, behind pointers.
#ifndef MANIFOLD_CISAL_SHIM_H
#define MANIFOLD_CISAL_SHIM_H

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <stdint.h>
#include <stdlib.h>

struct isal_encoder {
  struct isal_zstream stream;
  uint8_t level_buffer[ISAL_DEF_LVL2_LARGE];
};

static inline struct isal_encoder *isal_encoder_create(void) { return (struct isal_encoder *)malloc(sizeof(struct isal_encoder)); }
static inline void isal_encoder_destroy(struct isal_encoder *encoder) { free(encoder); }

/// One block of a raw deflate stream at level 1 or 2, ended at a byte boundary by an empty stored block (a sync flush), so that blocks can be
/// put one after another. `dictionary` is what precedes it (at most 32 KiB are used). Answers the bytes written, or a negative code; the output never
/// has room for too little when `capacity` is at least `isal_block_bound(count)`.
static inline int64_t isal_encode_block(struct isal_encoder *encoder, uint32_t level, uint8_t *dictionary, uint32_t dictionary_count,
                                        uint8_t *input, uint32_t count, uint8_t *output, uint32_t capacity) {
  struct isal_zstream *s = &encoder->stream;
  isal_deflate_init(s);
  s->level = level;
  s->level_buf = encoder->level_buffer;
  s->level_buf_size = level == 1 ? ISAL_DEF_LVL1_LARGE : ISAL_DEF_LVL2_LARGE;
  s->gzip_flag = IGZIP_DEFLATE;
  s->flush = SYNC_FLUSH;
  s->end_of_stream = 0;
  if (dictionary_count > 0) {
    int code = isal_deflate_set_dict(s, dictionary, dictionary_count);
    if (code != COMP_OK) return -1000 + code;
  }
  s->next_in = input;
  s->avail_in = count;
  s->next_out = output;
  s->avail_out = capacity;
  int code = isal_deflate(s);
  if (code != COMP_OK) return -2000 + code;
  if (s->avail_in != 0 || s->avail_out == 0) return -3000;
  return (int64_t)s->total_out;
}
static inline uint32_t isal_block_bound(uint32_t count) { return count + count / 8 + 4096; }

/// Decodes raw deflate data and checks the gzip trailer after it. The header is the caller's: ISA-L 2.30 forgets a header's flags between two calls
/// (they are on its stack), so one that comes in pieces is misread.
static inline struct inflate_state *isal_decoder_create(void) {
  struct inflate_state *state = (struct inflate_state *)calloc(1, sizeof(struct inflate_state));
  if (state) {
    isal_inflate_init(state);
    state->crc_flag = ISAL_GZIP_NO_HDR_VER;
  }
  return state;
}
static inline void isal_decoder_destroy(struct inflate_state *state) { free(state); }
static inline void isal_decoder_reset(struct inflate_state *state) {
  isal_inflate_reset(state);
  state->crc_flag = ISAL_GZIP_NO_HDR_VER;
}
static inline int isal_decoder_at_member_end(const struct inflate_state *state) { return state->block_state == ISAL_BLOCK_FINISH; }
/// Decodes from the input into the output as far as both reach. On return the counts say what is left of each. A negative answer is an ISA-L error.
static inline int isal_decode(struct inflate_state *state, uint8_t **input, uint32_t *input_left, uint8_t *output, uint32_t *output_left) {
  state->next_in = *input;
  state->avail_in = *input_left;
  state->next_out = output;
  state->avail_out = *output_left;
  int code = isal_inflate(state);
  *input = state->next_in;
  *input_left = state->avail_in;
  *output_left = state->avail_out;
  return code;
}
#endif
