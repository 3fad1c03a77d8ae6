//! What a shim DMA channel moves: tasks in the order in which they were queued, as pieces of a buffer.

use std::collections::VecDeque;

use super::error::SimError;
use crate::npu::{
    access::{QUEUE_DEPTH, Transfer},
    design::Channel,
};

/// Contiguous words of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// First byte.
    pub offset: usize,
    /// Bytes, whole words.
    pub bytes: usize,
}

/// What a core takes or gives at once: pieces of an argument, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pieces: Vec<Piece>,
}

impl Object {
    /// Its pieces.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Where it lies, if in one piece.
    pub fn whole(&self) -> Option<Piece> {
        match self.pieces[..] {
            [piece] => Some(piece),
            _ => None,
        }
    }

    /// `part` of it, bytes counted from its start.
    pub fn part(&self, part: std::ops::Range<usize>) -> Self {
        let mut at = 0;
        let mut pieces = Vec::new();
        for piece in &self.pieces {
            let (from, to) = (part.start.max(at), part.end.min(at + piece.bytes));
            if from < to {
                pieces.push(Piece { offset: piece.offset + from - at, bytes: to - from });
            }
            at += piece.bytes;
        }
        Self { pieces }
    }

    fn push(&mut self, piece: Piece) {
        match self.pieces.last_mut() {
            Some(last) if last.offset + last.bytes == piece.offset => last.bytes += piece.bytes,
            _ => self.pieces.push(piece),
        }
    }
}

/// One task of a channel: a descriptor used once or several times.
struct QueuedTask {
    transfer: Transfer,
    descriptor: usize,
    /// Uses that have not begun.
    uses: u32,
    iteration: u32,
    /// It gives a token when it is done.
    token: bool,
    /// What is left of the use that has begun.
    left: VecDeque<Piece>,
}

/// A shim DMA channel.
pub(super) struct Feed {
    channel: Channel,
    tasks: VecDeque<QueuedTask>,
    /// What was taken of an object whose rest is not there yet.
    begun: Object,
    begun_bytes: usize,
    /// Tokens that nobody has waited for yet.
    pub tokens: u32,
    /// Bytes moved.
    pub moved: u64,
}

impl Feed {
    pub fn new(channel: Channel) -> Self {
        Self { channel, tasks: VecDeque::new(), begun: Object::default(), begun_bytes: 0, tokens: 0, moved: 0 }
    }

    /// Queues a task: one use of the descriptor and `repeats` more.
    ///
    /// # Errors
    /// If the queue is full, or the transfer leaves its buffer of `bytes`.
    pub fn push(
        &mut self,
        transfer: Transfer,
        descriptor: usize,
        repeats: u32,
        token: bool,
        bytes: usize,
    ) -> Result<(), SimError> {
        // One task is at work, the others wait in the queue.
        if self.tasks.len() > QUEUE_DEPTH {
            return Err(SimError::QueueFull { channel: self.channel });
        }
        transfer.check()?;
        for iteration in 0..transfer.iterations.min(repeats + 1) {
            let end = transfer.runs(iteration).map(|(start, words)| start + 4 * u64::from(words)).max().unwrap_or(0);
            if end > bytes as u64 {
                return Err(SimError::OutOfBounds { argument: transfer.argument, end, bytes });
            }
        }
        self.tasks.push_back(QueuedTask {
            transfer,
            descriptor,
            uses: repeats + 1,
            iteration: 0,
            token,
            left: VecDeque::new(),
        });
        Ok(())
    }

    /// Whether a task that is not done needs a descriptor to say something else.
    pub fn needs(&self, descriptor: usize, transfer: &Transfer) -> bool {
        self.tasks.iter().any(|task| task.descriptor == descriptor && task.transfer != *transfer)
    }

    /// The next object of `bytes`, or `None` if its words have not all been asked for yet.
    pub fn next(&mut self, bytes: usize) -> Option<Object> {
        while self.begun_bytes < bytes {
            let piece = self.piece(bytes - self.begun_bytes)?;
            self.begun_bytes += piece.bytes;
            self.begun.push(piece);
        }
        self.begun_bytes = 0;
        self.moved += bytes as u64;
        Some(std::mem::take(&mut self.begun))
    }

    /// The next contiguous words, at most `bytes`.
    fn piece(&mut self, bytes: usize) -> Option<Piece> {
        let task = self.tasks.front_mut()?;
        if task.left.is_empty() {
            let runs = task.transfer.runs(task.iteration);
            task.left.extend(runs.map(|(start, words)| Piece { offset: start as usize, bytes: 4 * words as usize }));
            task.iteration += 1;
            task.uses -= 1;
        }
        let front = task.left.front_mut()?;
        let piece = Piece { offset: front.offset, bytes: front.bytes.min(bytes) };
        front.offset += piece.bytes;
        front.bytes -= piece.bytes;
        if front.bytes == 0 {
            task.left.pop_front();
        }
        if task.left.is_empty() && task.uses == 0 {
            self.tokens += u32::from(task.token);
            self.tasks.pop_front();
        }
        Some(piece)
    }

    /// What is left when a stream is at its end, in words; `None` if nothing is.
    pub fn leftover(&self) -> Option<String> {
        let what = match (self.tasks.len(), self.begun_bytes) {
            (0, 0) => return None,
            (0, bytes) => format!("{bytes} bytes of an object that has more"),
            (tasks, _) => format!("{tasks} tasks that nobody takes"),
        };
        Some(format!("{} holds {what}", self.channel))
    }
}
