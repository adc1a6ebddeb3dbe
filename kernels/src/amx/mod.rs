//! AMX: products of tiles of 8-bit codes, in the assembly for which stable Rust has no intrinsics.
//!
//! A tile register has up to 16 rows of up to 64 bytes. `sums += codes x weights` takes a tile of codes (a row of codes
//! each, four to a group) and a tile of weights (a group each, of 16 outputs the four weights), and adds every row's
//! products to that row's 16 sums. Here the registers are two by two tiles of sums, two of codes (`upper`, `lower`) and
//! two of weights (`left`, `right`). Tiles have the shape of the data, so that nothing need be filled up.
//!
//! Linux gives a process the registers when it asks (`arch_prctl`); elsewhere they are taken as absent. The tests of this
//! crate run all of it on any processor with AVX-512 VNNI: where there are no tiles, `simulator.rs` plays them.

#[cfg(all(test, target_arch = "x86_64", target_os = "linux", not(miri)))]
mod simulator;

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
pub(crate) use linux::available;

/// Whether this processor has AMX for 8-bit codes and this process may use it.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
pub(crate) fn available() -> bool {
    false
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
mod linux {
    use core::arch::asm;
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;

    /// Whether this processor has AMX for 8-bit codes and this process may use it.
    pub(crate) fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        let here = || has_tiles() && system_keeps_tiles() && permitted();
        #[cfg(test)]
        let here = || here() || super::simulator::install();
        *AVAILABLE.get_or_init(here)
    }

    /// Leaf 7 of the processor's own description: tiles, and their 8-bit products.
    fn has_tiles() -> bool {
        const TILES: u32 = 1 << 24;
        const CODES: u32 = 1 << 25;
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (TILES | CODES) == TILES | CODES
    }

    /// Whether the system saves the tiles' shapes (bit 17) and values (bit 18) with a thread.
    fn system_keeps_tiles() -> bool {
        const BOTH: u64 = 3 << 17;
        // SAFETY: where the system has switched XSAVE on, reading what it saves is allowed.
        is_x86_feature_detected!("xsave") && unsafe { saved_state() } & BOTH == BOTH
    }

    /// # Safety
    /// The system has switched XSAVE on.
    #[target_feature(enable = "xsave")]
    unsafe fn saved_state() -> u64 {
        // SAFETY: by this function's contract.
        unsafe { _xgetbv(0) }
    }

    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, for all threads of the process.
    fn permitted() -> bool {
        const ARCH_PRCTL: usize = 158;
        const REQUEST: usize = 0x1023;
        const TILE_DATA: usize = 18;
        let answer: usize;
        // SAFETY: the call reads and writes no memory of ours.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => answer,
                in("rdi") REQUEST, in("rsi") TILE_DATA,
                lateout("rcx") _, lateout("r11") _,
                options(nostack, nomem),
            );
        }
        answer == 0
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::{Step, TILE_GROUPS, TILE_ROWS, Tiles};

#[cfg(target_arch = "x86_64")]
mod tiles {
    use core::arch::asm;
    use core::marker::PhantomData;

    /// The most rows a tile has.
    pub(crate) const TILE_ROWS: usize = 16;
    /// The most groups of four codes a tile's row has.
    pub(crate) const TILE_GROUPS: usize = 16;
    /// Bytes of a row of 16 sums, or of 16 outputs' groups of weights.
    const LINE: usize = 64;

    /// The shapes of the eight registers, as `ldtilecfg` reads them.
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Tile registers of given shapes, for as long as this lives. They belong to the thread.
    pub(crate) struct Tiles {
        both: bool,
        of_this_thread: PhantomData<*const ()>,
    }

    impl Tiles {
        /// Registers for `upper` and `lower` rows of codes (1 to 16, and 0 to 16) of `groups` groups (1 to 16) at a time.
        ///
        /// # Safety
        /// [`available`](super::available) has said yes.
        pub(crate) unsafe fn new(upper: usize, lower: usize, groups: usize) -> Tiles {
            assert!(
                (1..=TILE_ROWS).contains(&upper) && lower <= TILE_ROWS && (1..=TILE_GROUPS).contains(&groups)
            );
            let mut shapes =
                Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            let mut shape = |register: usize, rows: usize, bytes: usize| {
                shapes.rows[register] = rows as u8;
                shapes.row_bytes[register] = if rows == 0 { 0 } else { bytes as u16 };
            };
            for (first, rows) in [(0, upper), (2, lower)] {
                shape(first, rows, LINE);
                shape(first + 1, rows, LINE);
                shape(4 + first / 2, rows, 4 * groups);
            }
            shape(6, groups, LINE);
            shape(7, groups, LINE);
            // SAFETY: the processor has tiles, by this function's contract, and the shapes are within its palette.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, preserves_flags)) };
            Tiles { both: lower > 0, of_this_thread: PhantomData }
        }

        /// Starts the sums of every row from the same 32 values.
        ///
        /// # Safety
        /// `values` is good for 32 reads.
        #[inline(always)]
        pub(crate) unsafe fn start(&self, values: *const i32) {
            // A distance of no bytes between rows: each reads the same 64.
            // SAFETY: the registers are shaped as long as `self` lives, and the values are there.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{values} + {none}*1]",
                    "tileloadd tmm1, [{values} + {none}*1 + 64]",
                    values = in(reg) values, none = in(reg) 0usize,
                    options(nostack, preserves_flags, readonly),
                );
                if self.both {
                    asm!(
                        "tileloadd tmm2, [{values} + {none}*1]",
                        "tileloadd tmm3, [{values} + {none}*1 + 64]",
                        values = in(reg) values, none = in(reg) 0usize,
                        options(nostack, preserves_flags, readonly),
                    );
                }
            }
        }

        /// Writes the sums, a row every `stride` bytes: the upper rows to `upper`, the lower ones to `lower`.
        ///
        /// # Safety
        /// Both are good for as many rows of 32 as the registers have.
        #[inline(always)]
        pub(crate) unsafe fn store(&self, upper: *mut i32, lower: *mut i32, stride: usize) {
            // SAFETY: the registers are shaped as long as `self` lives, and the room is there.
            unsafe {
                asm!(
                    "tilestored [{sums} + {stride}*1], tmm0",
                    "tilestored [{sums} + {stride}*1 + 64], tmm1",
                    sums = in(reg) upper, stride = in(reg) stride,
                    options(nostack, preserves_flags),
                );
                if self.both {
                    asm!(
                        "tilestored [{sums} + {stride}*1], tmm2",
                        "tilestored [{sums} + {stride}*1 + 64], tmm3",
                        sums = in(reg) lower, stride = in(reg) stride,
                        options(nostack, preserves_flags),
                    );
                }
            }
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: the processor has tiles, or there would be no `Tiles`.
            unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
        }
    }

    /// Codes and weights of one step: rows of codes `stride` bytes apart, groups of weights `line` bytes apart.
    #[derive(Clone, Copy)]
    pub(crate) struct Step {
        pub upper: *const u8,
        pub lower: *const u8,
        pub stride: usize,
        pub left: *const u8,
        pub right: *const u8,
        pub line: usize,
    }

    macro_rules! products {
        ($(#[$about:meta])* $name:ident, $instruction:literal) => {
            impl Tiles {
                $(#[$about])*
                ///
                /// # Safety
                /// The pointers are good for what the registers' shapes read.
                #[inline(always)]
                pub(crate) unsafe fn $name(&self, step: Step) {
                    // SAFETY: the registers are shaped as long as `self` lives, and the values are there.
                    unsafe {
                        asm!(
                            "tileloadd tmm4, [{upper} + {stride}*1]",
                            "tileloadd tmm6, [{left} + {line}*1]",
                            "tileloadd tmm7, [{right} + {line}*1]",
                            concat!($instruction, " tmm0, tmm4, tmm6"),
                            concat!($instruction, " tmm1, tmm4, tmm7"),
                            upper = in(reg) step.upper, stride = in(reg) step.stride,
                            left = in(reg) step.left, right = in(reg) step.right, line = in(reg) step.line,
                            options(nostack, preserves_flags, readonly),
                        );
                        if self.both {
                            asm!(
                                "tileloadd tmm5, [{lower} + {stride}*1]",
                                concat!($instruction, " tmm2, tmm5, tmm6"),
                                concat!($instruction, " tmm3, tmm5, tmm7"),
                                lower = in(reg) step.lower, stride = in(reg) step.stride,
                                options(nostack, preserves_flags, readonly),
                            );
                        }
                    }
                }
            }
        };
    }

    products!(
        /// Adds the products of unsigned codes with signed weights.
        add_unsigned_products, "tdpbusd"
    );
    products!(
        /// Adds the products of signed codes with unsigned weights.
        add_signed_products, "tdpbsud"
    );
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// The products of every shape of tiles, with codes and weights at the ends of their ranges.
    #[test]
    fn products_are_those_of_plain_loops_for_every_shape() {
        if !crate::InstructionSet::Avx512Amx.is_available() {
            println!("skipped: neither AMX nor AVX-512 VNNI here");
            return;
        }
        let codes: Vec<u8> = (0..32 * 64).map(|place| (place * 89 % 257) as u8).collect();
        let weights: Vec<i8> = (0..32 * 64).map(|place| (place * 151 % 256) as u8 as i8).collect();
        let start: Vec<i32> = (0..32).map(|output| output * 1_000_003 - 5).collect();
        for (upper, lower, groups) in
            [(16, 16, 16), (16, 0, 16), (16, 1, 7), (5, 0, 1), (16, 9, 13), (1, 0, 16)]
        {
            let mut sums = vec![i32::MIN; 33 * 32];
            // SAFETY: AMX is there; rows of 64 codes, two panels of 16 groups, 32 values and 32 rows of sums.
            unsafe {
                let tiles = Tiles::new(upper, lower, groups);
                tiles.start(start.as_ptr());
                for _ in 0..2 {
                    tiles.add_unsigned_products(Step {
                        upper: codes.as_ptr(),
                        lower: codes[16 * 64..].as_ptr(),
                        stride: 64,
                        left: weights.as_ptr().cast(),
                        right: weights[16 * 64..].as_ptr().cast(),
                        line: 64,
                    });
                }
                let sums = sums.as_mut_ptr();
                tiles.store(sums, sums.add(16 * 32), 32 * 4);
            }
            for row in 0..33 {
                let there = row < upper || (16..16 + lower).contains(&row);
                for output in 0..32 {
                    let panel = &weights[output / 16 * 1024 + output % 16 * 4..];
                    let products = (0..4 * groups).map(|input| {
                        i32::from(codes[row % 32 * 64 + input]) * i32::from(panel[input / 4 * 64 + input % 4])
                    });
                    let sum = start[output] + 2 * products.sum::<i32>();
                    let expected = if there { sum } else { i32::MIN };
                    assert_eq!(
                        sums[row * 32 + output],
                        expected,
                        "{upper}+{lower} x {groups}: {row}, {output}"
                    );
                }
            }
        }
    }
}
