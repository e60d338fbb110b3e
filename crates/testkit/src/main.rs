//! The stand-ins as a program, for looking at by hand.
//!
//! `cargo run -p ride-testkit -- [openclaw version]` starts both stand-ins and,
//! if a version is named, a real gateway between them, until Ctrl-C.

use std::process::ExitCode;

use ride_testkit::{Anthropic, Gateway, Person, Place, Telegram};

#[tokio::main]
async fn main() -> ExitCode {
    match run(std::env::args().nth(1)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(version: Option<String>) -> ride_testkit::Result<()> {
    let (telegram, anthropic) = (Telegram::start().await?, Anthropic::start().await?);
    println!("telegram   {}\nanthropic  {}", telegram.api_root(), anthropic.base_url());
    let gateway = match version {
        Some(version) => Some(Gateway::builder(&telegram, &anthropic).version(&version).start().await?),
        None => None,
    };
    if let Some(gateway) = &gateway {
        println!(
            "gateway    {}\ntoken      {}\nhome       {}",
            gateway.url(),
            gateway.token(),
            gateway.home().display()
        );
    }
    // `POST /say` without a chat goes where somebody wrote last.
    telegram.says(&Person::tess(), &Place::topic(-1_002_222_222_222, "Forum", 7, "Plans"), "hello");
    let root = telegram.api_root();
    println!("\nread the chats:  curl {root}/view\nwrite:           curl -d 'how are you' '{root}/say'");
    println!("elsewhere:       curl -d 'hi' '{root}/say?chat=1001&as=1001'");
    // An error means that there is no Ctrl-C to wait for; then there is nothing to stay for either.
    let _ = tokio::signal::ctrl_c().await;
    if let Some(mut gateway) = gateway {
        gateway.stop().await;
    }
    Ok(())
}
