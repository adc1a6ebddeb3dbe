//! AMX in software, for tests on processors without it: there every instruction of tiles is an illegal one, and the
//! handler of that signal decodes it, does what it says to tiles of its own, and goes on behind it.
//!
//! It is as strict as the processor: what has no shape, or a shape that does not fit the others, ends the test with the
//! signal. The processor's manual ("Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2) defines both.

use core::cell::UnsafeCell;
use std::sync::Once;

/// Bytes of a tile's row at most.
const LINE: usize = 64;
const ROWS: usize = 16;

/// The registers of a thread.
struct Registers {
    row_bytes: [usize; 8],
    rows: [usize; 8],
    tiles: [[[u8; LINE]; ROWS]; 8],
}

thread_local! {
    static REGISTERS: UnsafeCell<Registers> = const {
        UnsafeCell::new(Registers { row_bytes: [0; 8], rows: [0; 8], tiles: [[[0; LINE]; ROWS]; 8] })
    };
}

/// Has illegal instructions of this process looked at; true, as this cannot fail.
pub(super) fn install() -> bool {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and all else in the action may be zero.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGILL, &raw const action, core::ptr::null_mut());
        }
    });
    true
}

extern "C" fn on_illegal_instruction(
    signal: libc::c_int,
    _: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the system hands over the context of this thread, and gets it back when the handler returns; `tiles` have no
    // destructor and their first use allocates nothing, so a handler may use them. Nothing else holds them: the code that
    // was interrupted was at an instruction of tiles.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let done = REGISTERS.with(|tiles| execute(registers, &mut *tiles.get()));
        match done {
            Some(length) => registers[libc::REG_RIP as usize] += length as i64,
            // Not ours, or refused: the instruction runs again and ends the process.
            None => _ = libc::signal(signal, libc::SIG_DFL),
        }
    }
}

/// An instruction's bytes, read one after the other.
struct Bytes(*const u8, usize);

impl Bytes {
    /// # Safety
    /// An instruction goes on here.
    unsafe fn next(&mut self) -> u8 {
        self.1 += 1;
        // SAFETY: by this function's contract.
        unsafe { self.0.add(self.1 - 1).read() }
    }
}

/// Executes the instruction at the instruction pointer and says how long it is; none where it is not one of tiles, or
/// refused.
///
/// # Safety
/// `registers` are those of a thread at an illegal instruction, whose operands in memory are there.
unsafe fn execute(registers: &[i64; 23], tiles: &mut Registers) -> Option<usize> {
    // SAFETY: by this function's contract.
    unsafe {
        let mut bytes = Bytes(registers[libc::REG_RIP as usize] as *const u8, 0);
        // The three bytes of VEX, their inverted bits turned back.
        let (first, second, third) = (bytes.next(), !bytes.next(), bytes.next());
        let (reversed, operand) = (!third, usize::from(!third >> 3 & 15));
        if first != 0xc4 || !second & 31 != 2 || reversed & 0x84 != 0x84 {
            return None;
        }
        let (opcode, prefix, mode) = (bytes.next(), third & 3, bytes.next());
        let (register, other) = (usize::from(mode >> 3 & 7), usize::from(mode & 7));
        if mode >> 6 == 3 {
            match (opcode, prefix) {
                (0x49, 0) if mode == 0xc0 => (tiles.rows, tiles.row_bytes) = ([0; 8], [0; 8]),
                (0x5e, _) => tiles.multiply(register, other, operand, prefix)?,
                _ => return None,
            }
            return Some(bytes.1);
        }
        let (base, distance) = address(registers, &mut bytes, mode, second)?;
        match (opcode, prefix) {
            (0x49, 0) if register == 0 => tiles.configure(&base.cast::<[u8; 64]>().read())?,
            (0x4b, 3) => {
                let (rows, count) = tiles.shape(register)?;
                for row in 0..rows {
                    let from = base.offset(row as isize * distance?);
                    from.copy_to_nonoverlapping(tiles.tiles[register][row].as_mut_ptr(), count);
                }
            }
            (0x4b, 2) => {
                let (rows, count) = tiles.shape(register)?;
                for row in 0..rows {
                    let to = base.offset(row as isize * distance?).cast_mut();
                    to.copy_from_nonoverlapping(tiles.tiles[register][row].as_ptr(), count);
                }
            }
            _ => return None,
        }
        Some(bytes.1)
    }
}

/// An operand's address and, where it has an index, the index: the distance between rows.
///
/// # Safety
/// As [`execute`].
unsafe fn address(
    registers: &[i64; 23],
    bytes: &mut Bytes,
    mode: u8,
    second: u8,
) -> Option<(*const u8, Option<isize>)> {
    const IN_ORDER: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    let value = |number: u8| registers[IN_ORDER[usize::from(number)] as usize];
    // SAFETY: by this function's contract.
    unsafe {
        let (mut base, mut index) = (mode & 7, None);
        if base == 4 {
            let sib = bytes.next();
            base = sib & 7;
            let number = sib >> 3 & 7 | (second >> 6 & 1) << 3;
            index = (number != 4).then(|| (value(number) << (sib >> 6)) as isize);
        }
        // Addresses without a base register do not come up.
        let displacement = match mode >> 6 {
            0 if base == 5 => return None,
            0 => 0,
            1 => isize::from(bytes.next().cast_signed()),
            _ => i32::from_le_bytes([bytes.next(), bytes.next(), bytes.next(), bytes.next()]) as isize,
        };
        let base = value(base | (second >> 5 & 1) << 3) as *const u8;
        Some((base.offset(displacement), index))
    }
}

impl Registers {
    /// `ldtilecfg`.
    fn configure(&mut self, shapes: &[u8; 64]) -> Option<()> {
        let reserved = shapes[2..16].iter().chain(&shapes[32..48]).chain(&shapes[56..]);
        if shapes[0] != 1 || shapes[1] != 0 || reserved.copied().any(|byte| byte != 0) {
            return None;
        }
        for register in 0..8 {
            let bytes =
                usize::from(u16::from_le_bytes([shapes[16 + 2 * register], shapes[17 + 2 * register]]));
            let rows = usize::from(shapes[48 + register]);
            if bytes > LINE || rows > ROWS || (bytes == 0) != (rows == 0) {
                return None;
            }
            (self.row_bytes[register], self.rows[register]) = (bytes, rows);
        }
        self.tiles = [[[0; LINE]; ROWS]; 8];
        Some(())
    }

    /// Rows and bytes of a register that has a shape.
    fn shape(&self, register: usize) -> Option<(usize, usize)> {
        (self.rows[register] > 0).then_some((self.rows[register], self.row_bytes[register]))
    }

    /// `tdpbuud`, `tdpbusd`, `tdpbsud` and `tdpbssd`, told apart by the prefix.
    fn multiply(&mut self, sums: usize, left: usize, right: usize, prefix: u8) -> Option<()> {
        let (rows, bytes) = self.shape(sums)?;
        let (left_rows, left_bytes) = self.shape(left)?;
        let (right_rows, right_bytes) = self.shape(right)?;
        let distinct = sums != left && sums != right && left != right;
        if !distinct
            || rows != left_rows
            || bytes != right_bytes
            || left_bytes != 4 * right_rows
            || bytes % 4 > 0
        {
            return None;
        }
        let number =
            |signed: bool, byte: u8| if signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
        let (left_signed, right_signed) = (prefix & 2 != 0, prefix == 1 || prefix == 3);
        for row in 0..rows {
            for column in 0..bytes / 4 {
                let mut sum = 0i32;
                for byte in 0..left_bytes {
                    let weight = self.tiles[right][byte / 4][4 * column + byte % 4];
                    let product =
                        number(left_signed, self.tiles[left][row][byte]) * number(right_signed, weight);
                    sum = sum.wrapping_add(product);
                }
                let place = 4 * column..4 * column + 4;
                let before = &self.tiles[sums][row][place.clone()];
                let before = i32::from_le_bytes([before[0], before[1], before[2], before[3]]);
                self.tiles[sums][row][place].copy_from_slice(&before.wrapping_add(sum).to_le_bytes());
            }
            self.tiles[sums][row][bytes..].fill(0);
        }
        self.tiles[sums][rows..].fill([0; LINE]);
        Some(())
    }
}
