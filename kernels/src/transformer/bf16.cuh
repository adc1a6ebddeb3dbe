// Weights and activations as bf16: rounded where they are stored, to nearest, ties to even; every sum is f32.
typedef u16 Value;
INLINE float value_of(Value value) { return bf16_to_f32(value); }
INLINE Value to_value(float value) { return f32_to_bf16(value); }
