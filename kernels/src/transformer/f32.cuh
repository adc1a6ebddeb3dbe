// Weights and activations as 32-bit floats: nothing is rounded but by the arithmetic itself.
typedef float Value;
INLINE float value_of(Value value) { return value; }
INLINE Value to_value(float value) { return value; }
