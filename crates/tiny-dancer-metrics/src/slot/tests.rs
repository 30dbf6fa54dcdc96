use super::*;

#[test]
fn a_new_thread_gets_the_number_of_an_ended_one() {
    static POOL: Pool = Pool::new();
    for _ in 0..3 {
        let number = std::thread::spawn(|| POOL.claim().number()).join().unwrap();
        assert_eq!(number, 0);
    }
}

#[test]
fn two_claimed_numbers_differ() {
    static POOL: Pool = Pool::new();
    let claimed = [POOL.claim(), POOL.claim(), POOL.claim()];
    assert_eq!(claimed.each_ref().map(Slot::number), [0, 1, 2]);
    let [_, second, _] = claimed;
    assert_eq!(second.number(), 1);
}

#[test]
fn a_thread_keeps_its_number_while_it_lives() {
    let this = Slot::current().number();
    let another = std::thread::spawn(|| (Slot::current().number(), Slot::current().number())).join().unwrap();
    assert_eq!(another.0, another.1);
    assert_ne!(another.0, this);
    assert_eq!(Slot::current().number(), this);
}

#[test]
fn a_destructor_of_a_thread_local_gets_a_temporary_number() {
    use std::cell::RefCell;
    use std::sync::mpsc::{Sender, channel};

    struct SendOnDrop(Sender<usize>);
    impl Drop for SendOnDrop {
        fn drop(&mut self) {
            self.0.send(Slot::current().number()).unwrap();
        }
    }
    thread_local! {
        static LAST: RefCell<Option<SendOnDrop>> = const { RefCell::new(None) };
    }
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // Made first, destroyed last: at that time the thread has no number any more.
        LAST.with_borrow_mut(|last| *last = Some(SendOnDrop(sender)));
        Slot::current();
    })
    .join()
    .unwrap();
    receiver.recv().unwrap();
}
