//! The hash by which keys, endpoints and backends meet: XXH64.
//!
//! It is written out here, from its specification (`xxhash_spec.md`, "XXH64 algorithm description"), so that
//! every proxy of every version comes to the same choice. Changing it moves every user.

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// The hash of a request's key, by which endpoints are chosen.
pub fn key(bytes: &[u8]) -> u64 {
    xxh64(0, bytes)
}

/// XXH64 of `bytes` with `seed`.
pub fn xxh64(seed: u64, bytes: &[u8]) -> u64 {
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() {
        seed.wrapping_add(PRIME_5)
    } else {
        of_stripes(seed, stripes)
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let next = hash ^ round(0, u64::from_le_bytes(*word));
        hash = next
            .rotate_left(27)
            .wrapping_mul(PRIME_1)
            .wrapping_add(PRIME_4);
    }
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        let next = hash ^ u64::from(u32::from_le_bytes(*word)).wrapping_mul(PRIME_1);
        hash = next
            .rotate_left(23)
            .wrapping_mul(PRIME_2)
            .wrapping_add(PRIME_3);
    }
    for byte in rest {
        let next = hash ^ u64::from(*byte).wrapping_mul(PRIME_5);
        hash = next.rotate_left(11).wrapping_mul(PRIME_1);
    }
    avalanche(hash)
}

/// As [`xxh64`] of the bytes of `number`, the least first: it takes a quarter of the steps.
pub fn of_number(seed: u64, number: u64) -> u64 {
    let length = size_of::<u64>() as u64;
    let hash = seed.wrapping_add(PRIME_5).wrapping_add(length);
    let next = (hash ^ round(0, number)).rotate_left(27);
    avalanche(next.wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
}

fn of_stripes(seed: u64, stripes: &[[u8; 32]]) -> u64 {
    let mut lanes = [
        seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
        seed.wrapping_add(PRIME_2),
        seed,
        seed.wrapping_sub(PRIME_1),
    ];
    for stripe in stripes {
        for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }
    let turned = lanes.iter().zip([1, 7, 12, 18]);
    let sum = turned.fold(0_u64, |sum, (lane, by)| {
        sum.wrapping_add(lane.rotate_left(by))
    });
    lanes.iter().fold(sum, |hash, lane| {
        (hash ^ round(0, *lane))
            .wrapping_mul(PRIME_1)
            .wrapping_add(PRIME_4)
    })
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2))
        .rotate_left(31)
        .wrapping_mul(PRIME_1)
}

fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(PRIME_2);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_that_others_know() {
        // As the reference implementation has them, of every length that takes another way.
        for (text, hash) in [
            ("", 0xef46_db37_51d8_e999),
            ("a", 0xd24e_c4f1_a98c_6e5b),
            ("as", 0x1c33_0fb2_d66b_e179),
            ("asd", 0x631c_37ce_72a9_7393),
            ("asdf", 0x4158_72f5_99ce_a71e),
            (
                "Call me Ishmael. Some years ago--never mind how long precisely-",
                0x02a2_e854_70d6_fd96,
            ),
        ] {
            assert_eq!(xxh64(0, text.as_bytes()), hash, "{text}");
        }
        assert_ne!(xxh64(1, b"a"), xxh64(0, b"a"));
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let all = xxh64(7, &number.to_le_bytes());
            assert_eq!(of_number(7, number), all, "{number}");
        }
    }
}
