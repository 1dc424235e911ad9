//! Files that no gateway takes: each is refused when it is loaded, by name, and nothing changes.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::bench::Result;
use crate::bench::process::Gateway;
use crate::world::inputs;

/// What became of one file.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// What is wrong with it.
    pub name: &'static str,
    /// The answer's status.
    pub status: u16,
    /// The problem's code.
    pub code: String,
    /// Why, in the gateway's words.
    pub detail: String,
    /// How long the answer took.
    pub ms: f64,
    /// As `tests/README.md` says.
    pub well: bool,
}

/// A file: what is wrong with it, its bytes, and the answer's status and a word of it.
type File = (&'static str, Vec<u8>, u16, &'static str);

fn files() -> Result<Vec<File>> {
    let module = std::fs::read(inputs::plugin("rogue"))?;
    let unusable = 422;
    Ok(vec![
        ("not WebAssembly", b"#!/bin/sh".to_vec(), unusable, "not WebAssembly"),
        ("a module without a contract", b"\0asm\x01\0\0\0".to_vec(), unusable, "component-type"),
        ("200 MB", vec![0; 200 << 20], 413, "bytes"),
        ("WASI imports", importing("wasi:cli/environment@0.2.0"), unusable, "wasi:cli/environment"),
        ("an import outside its world", importing("weir:plugin/files@0.1.0"), unusable, "weir:plugin/files"),
        ("a trap in `cabi_realloc`", with_realloc(&module, &[0x00])?, unusable, "trap"),
        (
            "`cabi_realloc` points outside the memory",
            with_realloc(&module, &[0x41, 0x70])?,
            unusable,
            "realloc",
        ),
        ("takes minutes to compile", slow_to_compile(&module)?, unusable, "compil"),
    ])
}

/// Offers each file as a version of `rogue`, to be put in force at once.
pub(super) async fn refused(gateway: &Gateway) -> Result<Vec<Refused>> {
    let http = reqwest::Client::new();
    let url = |path: &str| gateway.admin_url(path).ok_or("not a weir");
    let in_force = async || -> Result<Value> {
        let list = http.get(url("/admin/v1/plugins")?).send().await?.bytes().await?;
        Ok(serde_json::from_slice::<Value>(&list)?["plugins"]["rogue"].clone())
    };
    let before = in_force().await?;
    let mut refused = Vec::new();
    for (name, bytes, wanted, word) in files()? {
        let begun = Instant::now();
        let post = http.post(url("/admin/v1/plugins/rogue/versions?activate=true&allow_key_changes=true")?);
        let (status, body) = match post.body(bytes).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await?),
            Err(error) => (0, format!("{error:?}")),
        };
        let ms = begun.elapsed().as_secs_f64() * 1e3;
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        let text =
            |member: &str| problem[member].as_str().unwrap_or(&body).chars().take(200).collect::<String>();
        let (code, detail) = (text("code"), text("detail"));
        // Who goes on sending what is too large may find the connection closed before the answer.
        let cut_off = wanted == 413 && status == 0;
        let told = status == wanted && detail.contains(word);
        let well = (told || cut_off) && in_force().await? == before;
        refused.push(Refused { name, status, code, detail, ms, well });
    }
    Ok(refused)
}

/// A component with one import, of an instance.
fn importing(name: &str) -> Vec<u8> {
    let import = [&[0x01, 0x00, leb_byte(name.len())], name.as_bytes(), &[0x05, 0x00]].concat();
    [b"\0asm\x0d\0\x01\0\x0a", &[leb_byte(import.len())][..], &import].concat()
}

fn leb_byte(number: usize) -> u8 {
    u8::try_from(number).ok().filter(|byte| *byte < 128).unwrap_or(127)
}

/// A core module's sections: their ids and contents (WebAssembly core 3.0, §5.5.2).
fn sections(module: &[u8]) -> Result<Vec<(u8, Vec<u8>)>> {
    let (mut sections, mut at) = (Vec::new(), 8);
    while at < module.len() {
        let id = module[at];
        let (size, start) = leb(module, at + 1)?;
        let end = start + size;
        sections.push((id, module.get(start..end).ok_or("a short section")?.to_vec()));
        at = end;
    }
    Ok(sections)
}

fn assemble(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in sections {
        module.push(*id);
        put_leb(&mut module, content.len());
        module.extend_from_slice(content);
    }
    module
}

fn leb(bytes: &[u8], mut at: usize) -> Result<(usize, usize)> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = *bytes.get(at).ok_or("a short number")?;
        at += 1;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((number, at));
        }
        shift += 7;
    }
}

fn put_leb(into: &mut Vec<u8>, mut number: usize) {
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        into.push(if number > 0 { byte | 0x80 } else { byte });
        if number == 0 {
            return;
        }
    }
}

const IMPORTS: u8 = 2;
const FUNCTIONS: u8 = 3;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

fn section(sections: &[(u8, Vec<u8>)], id: u8) -> Result<&Vec<u8>> {
    sections
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, content)| content)
        .ok_or_else(|| "no such section".into())
}

/// The code section's bodies.
fn bodies(code: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (count, mut at) = leb(code, 0)?;
    (0..count)
        .map(|_| {
            let (size, start) = leb(code, at)?;
            at = start + size;
            Ok(code.get(start..at).ok_or("a short body")?.to_vec())
        })
        .collect()
}

fn code_of(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut code = Vec::new();
    put_leb(&mut code, bodies.len());
    for body in bodies {
        put_leb(&mut code, body.len());
        code.extend_from_slice(body);
    }
    code
}

/// The number of imported functions: they come first.
fn imported(imports: &[u8]) -> Result<usize> {
    let (count, mut at) = leb(imports, 0)?;
    let mut functions = 0;
    for _ in 0..count {
        for _ in 0..2 {
            let (size, start) = leb(imports, at)?;
            at = start + size;
        }
        if imports.get(at) != Some(&0) {
            return Err("an import that is no function".into());
        }
        functions += 1;
        at = leb(imports, at + 1)?.1;
    }
    Ok(functions)
}

/// The same module with these instructions as its allocator.
fn with_realloc(module: &[u8], instructions: &[u8]) -> Result<Vec<u8>> {
    let mut all = sections(module)?;
    let exports = section(&all, EXPORTS)?;
    let name = b"cabi_realloc";
    let found = exports.windows(name.len()).position(|window| window == name).ok_or("no cabi_realloc")?;
    let (function, _) = leb(exports, found + name.len() + 1)?;
    let place = function - imported(section(&all, IMPORTS)?)?;
    let mut bodies = bodies(section(&all, CODE)?)?;
    bodies[place] = [&[0x00], instructions, &[0x0b]].concat();
    let code = code_of(&bodies);
    all.iter_mut().filter(|(id, _)| *id == CODE).for_each(|(_, content)| content.clone_from(&code));
    Ok(assemble(&all))
}

/// The same module with functions that nobody calls, and that are much work for a compiler: long, and nothing of it
/// may be left out.
fn slow_to_compile(module: &[u8]) -> Result<Vec<u8>> {
    const FUNCTIONS_MORE: usize = 64;
    const LEVELS: usize = 40_000;
    let mut all = sections(module)?;
    let functions = section(&all, FUNCTIONS)?;
    let (count, start) = leb(functions, 0)?;
    // The type of the first function will do, whatever it is: the body ends in `unreachable`.
    let (first_type, _) = leb(functions, start)?;
    let mut more = Vec::new();
    put_leb(&mut more, count + FUNCTIONS_MORE);
    more.extend_from_slice(&functions[start..]);
    (0..FUNCTIONS_MORE).for_each(|_| put_leb(&mut more, first_type));
    let mut bodies = bodies(section(&all, CODE)?)?;
    // i32.const 0, i32.load, i32.const 0, i32.load, i32.div_s, drop: nothing of it may be left out, for it may trap.
    let work = [0x41, 0x00, 0x28, 0x02, 0x00, 0x41, 0x00, 0x28, 0x02, 0x00, 0x6d, 0x1a];
    let body = [&[0x00][..], &work.repeat(LEVELS), &[0x00, 0x0b]].concat();
    bodies.extend((0..FUNCTIONS_MORE).map(|_| body.clone()));
    let code = code_of(&bodies);
    for (id, content) in &mut all {
        match *id {
            FUNCTIONS => content.clone_from(&more),
            CODE => content.clone_from(&code),
            _ => {}
        }
    }
    Ok(assemble(&all))
}
