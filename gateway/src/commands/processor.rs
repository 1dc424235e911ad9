//! Whether this machine can run the program as it was compiled: `make dist` compiles for processors with AVX2, and one
//! without would end it with SIGILL.

use super::Failure;

/// To be asked before anything else.
#[inline(never)]
pub fn check() -> Result<(), Failure> {
    if cfg!(target_feature = "avx2") && !has_avx2() {
        let what = "this program was compiled for processors with AVX2 (x86-64-v3), and this one has none; \
                    compile one for it by `DIST_CPU=x86-64 make dist`";
        return Err(Failure::Other(what.to_owned()));
    }
    Ok(())
}

/// Leaf 7 of CPUID (Intel's manual, volume 2A): AVX2, and BMI1 and BMI2, which x86-64-v3 has beside it.
/// `is_x86_feature_detected` does not ask about what the program was compiled for.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    const AVX2_BMI1_BMI2: u32 = (1 << 5) | (1 << 3) | (1 << 8);
    std::arch::x86_64::__cpuid_count(7, 0).ebx & AVX2_BMI1_BMI2 == AVX2_BMI1_BMI2
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}
