//! Durable events per second: a plain file with `fdatasync`, and in the same rounds mutations through the writer.
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::{folder, median};

/// Bytes of one record, as a server's `applied` event has them.
const RECORD_BYTES: usize = 400;

/// Most records that one write takes, as in the writer.
const BATCH_MAX: usize = 512;

/// Bytes that are zeroed beforehand, so that a write never changes the file's length.
const FILE_BYTES: usize = 64 * 1024 * 1024;

pub fn print(rounds: usize, long: Duration) {
    println!("## Durable events per second\n");
    println!("{rounds} interleaved rounds of {} s, medians.\n", long.as_secs_f64());
    println!("| writers | what | per second | p50 µs |\n|---|---|---|---|");
    for writers in [1, 64] {
        let (mut plain, mut through_writer) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(plain_file(writers, long));
            through_writer.push(crate::mutations::run(writers, long));
        }
        row(writers, "plain file, pre-zeroed, `fdatasync`", &plain);
        row(writers, "mutations through the writer, on the log", &through_writer);
    }
    println!();
}

/// Calls per second, and the middle latency in microseconds.
pub type Figures = (f64, f64);

fn row(writers: usize, what: &str, all: &[Figures]) {
    let rate = median(all.iter().map(|f| f.0).collect());
    println!("| {writers} | {what} | {rate:.0} | {:.0} |", median(all.iter().map(|f| f.1).collect()));
}

/// The limit: threads that hand a record to one that writes what is queued and syncs it, as simply as it can be done.
fn plain_file(writers: usize, long: Duration) -> Figures {
    let folder = folder();
    let (queue, queued) = sync_channel::<SyncSender<()>>(1024);
    let path = folder.path().join("plain");
    let syncing = std::thread::spawn(move || sync_all(&queued, &path));
    let until = Instant::now() + long;
    let one = || {
        let queue = queue.clone();
        std::thread::spawn(move || {
            let (done, wait) = sync_channel(1);
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                queue.send(done.clone()).unwrap();
                wait.recv().unwrap();
                latencies.push(begun.elapsed().as_nanos() as f64 / 1e3);
            }
            latencies
        })
    };
    let threads: Vec<_> = (0..writers).map(|_| one()).collect();
    drop(queue);
    let latencies: Vec<f64> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    syncing.join().unwrap();
    (latencies.len() as f64 / long.as_secs_f64(), median(latencies))
}

fn sync_all(queued: &Receiver<SyncSender<()>>, path: &std::path::Path) {
    let mut file = File::create(path).unwrap();
    file.write_all(&vec![0; FILE_BYTES]).unwrap();
    file.sync_all().unwrap();
    let record = [7_u8; RECORD_BYTES];
    let mut at = 0;
    while let Ok(first) = queued.recv() {
        let mut waiting = vec![first];
        waiting.extend(queued.try_iter().take(BATCH_MAX - 1));
        let bytes = record.repeat(waiting.len());
        if at + bytes.len() > FILE_BYTES {
            at = 0;
        }
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        at += bytes.len();
        for done in waiting {
            done.send(()).unwrap();
        }
    }
}
