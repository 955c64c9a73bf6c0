//! Huffman code of HPACK (RFC 7541 appendix B), decoding only.
//!
//! The code is canonical: the lengths of its codes say all.

/// Length of each byte's code, in bits. The end of a string has the code of 30 ones.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11,
    10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8,
    15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23,
    23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21,
    23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/// Longest code of a byte.
const LONGEST: usize = 30;

/// The bytes in order of their codes, and for each length the first code, how many there are, and
/// where their bytes begin.
struct Table {
    bytes: [u8; 256],
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    begin: [usize; LONGEST + 1],
}

const TABLE: Table = table();

#[expect(clippy::cast_possible_truncation, reason = "below 256")]
const fn table() -> Table {
    let mut table = Table {
        bytes: [0; 256],
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        begin: [0; LONGEST + 1],
    };
    let (mut code, mut placed, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        table.first[length] = code;
        table.begin[length] = placed;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                table.bytes[placed] = byte as u8;
                placed += 1;
                code += 1;
            }
            byte += 1;
        }
        table.count[length] = code - table.first[length];
        length += 1;
    }
    table
}

/// Appends what `coded` stands for; `None` if it is no valid string.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    static CODES: Table = TABLE;
    let (mut code, mut length) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if length > LONGEST {
                return None;
            }
            let offset = code.wrapping_sub(CODES.first[length]);
            if offset < CODES.count[length] {
                text.push(CODES.bytes[CODES.begin[length] + offset as usize]);
                (code, length) = (0, 0);
            }
        }
    }
    // What is left is padding: fewer than eight bits, all ones.
    (length < 8 && code == (1 << length) - 1).then_some(())
}
