// ISA-L's stream structures are too big for Swift to see as values (arrays of 64 KiB): they live on the heap, behind pointers.
#ifndef MANIFOLD_CISAL_SHIM_H
#define MANIFOLD_CISAL_SHIM_H

#include <isa-l/igzip_lib.h>
#include <stdint.h>
#include <stdlib.h>

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
