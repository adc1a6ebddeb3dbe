// What an engine of WebAssembly can do, and which of the two modules it gets: they give the same bits, and the relaxed one
// takes about half as long for the products of bundles whose weights have 7 bits.

/** A vector of zeros, as an instruction. */
const ZERO = [0xfd, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/** Whether a function that returns a 128-bit vector by these instructions is valid. */
const runs = (instructions) => typeof WebAssembly === "object" && WebAssembly.validate(Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // the magic number and version 1
  0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, // a type: () -> v128
  0x03, 0x02, 0x01, 0x00, // a function of it
  0x0a, instructions.length + 4, 0x01, instructions.length + 2, 0x00, ...instructions, 0x0b, // its body
));

/** Whether there are 128-bit vectors (simd128). */
export const hasVectors = () => runs(ZERO);

/** Whether there are relaxed vector instructions: i16x8.relaxed_dot_i8x16_i7x16_s. */
export const hasRelaxedVectors = () => runs([...ZERO, ...ZERO, 0xfd, 0x92, 0x02]);
