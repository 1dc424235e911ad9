//! The fences, and the mutants that lack one each.

/// What keeps answers right: the scripts, and what their caller sees to.
#[derive(Clone)]
pub(super) struct Fences {
    pub(super) open: String,
    pub(super) apply: String,
    pub(super) fill: String,
    pub(super) floor: String,
    pub(super) read: String,
    pub(super) free: String,
    pub(super) generation_in_names: bool,
    pub(super) bodies_are_identified: bool,
    pub(super) end_before_start: bool,
    pub(super) erasures_are_remembered: bool,
}

impl Fences {
    pub(super) fn shipped() -> Fences {
        Fences {
            open: include_str!("../../../../gateway/src/valkey/scripts/open.lua").to_owned(),
            apply: include_str!("../../../../gateway/src/valkey/scripts/apply.lua").to_owned(),
            fill: include_str!("../../../../gateway/src/valkey/scripts/fill.lua").to_owned(),
            floor: include_str!("../../../../gateway/src/valkey/scripts/floor.lua").to_owned(),
            read: include_str!("../../../../gateway/src/valkey/scripts/read.lua").to_owned(),
            free: include_str!("../../../../gateway/src/valkey/scripts/free.lua").to_owned(),
            generation_in_names: true,
            bodies_are_identified: true,
            end_before_start: true,
            erasures_are_remembered: true,
        }
    }

    /// Each with one fence less, and which.
    pub(super) fn mutants() -> Vec<(&'static str, Fences)> {
        let mut mutants: Vec<(&'static str, Fences)> = Vec::new();
        let mut without = |name, cut: fn(&mut Fences)| {
            let mut fences = Fences::shipped();
            cut(&mut fences);
            mutants.push((name, fences));
        };
        without("generation in names", |fences| fences.generation_in_names = false);
        without("identity of bodies", |fences| fences.bodies_are_identified = false);
        without("the end before the window's start", |fences| fences.end_before_start = false);
        without("memory of what was erased", |fences| fences.erasures_are_remembered = false);
        without("apply: generation", |fences| {
            edit(&mut fences.apply, "if w[1] ~= ARGV[1] then return {'GEN', w[1]} end", "");
        });
        without("apply: GAP", |fences| {
            edit(&mut fences.apply, "if tonumber(ARGV[2]) > next then return {'GAP', w[2]} end", "");
        });
        without("apply: what is below the watermark is skipped", |fences| {
            edit(&mut fences.apply, "if struct.unpack('>i8', ref) >= next then", "if true then");
        });
        without("apply: the watermark only rises", |fences| {
            edit(&mut fences.apply, "if to > next then redis.call('HSET'", "if true then redis.call('HSET'");
        });
        without("apply: fresh only goes forward", |fences| {
            edit(&mut fences.apply, " and tonumber(ARGV[4]) > tonumber(w[3])", "");
        });
        without("floor: generation", |fences| {
            edit(&mut fences.floor, "if w[1] ~= ARGV[1] then return {'GEN', w[1]} end", "");
        });
        without("floor: it only rises", |fences| {
            edit(&mut fences.floor, "if tonumber(ARGV[2]) >= tonumber(w[2]) then", "if true then");
        });
        without("floor: it does not come down again", |fences| edit(&mut fences.floor, ", 's', ARGV[2]", ""));
        without("fill: generation", |fences| {
            edit(&mut fences.fill, "if w[1] ~= ARGV[1] then return {'GEN', w[1]} end", "");
        });
        without("fill: only what ends at the floor", |fences| {
            edit(
                &mut fences.fill,
                "if tonumber(ARGV[3]) ~= tonumber(w[2]) then return {'FLOOR', w[2]} end",
                "",
            );
        });
        without("fill: not below the start", |fences| {
            edit(
                &mut fences.fill,
                "if tonumber(ARGV[2]) < tonumber(w[3]) then return {'FLOOR', w[2]} end",
                "",
            );
        });
        without("read: generation", |fences| edit(&mut fences.read, " or w[1] ~= ARGV[1]", ""));
        mutants
    }
}

fn edit(script: &mut String, fence: &str, instead: &str) {
    assert_eq!(script.matches(fence).count(), 1, "the script has another text: {fence}");
    *script = script.replace(fence, instead);
}
