// slicer_shell SCRIPT [ARGUMENT ...]: runs a Python script in a Qt application, as Slicer runs its
// scripted modules. PythonQt gives `PythonQt.QtCore`, `.QtGui` and `.ctk`; `shell` loads .ui files
// and lets the event loop turn. The exit status is 1 where the script ended by an exception.
#include <PythonQt.h>

#include <QApplication>
#include <QFile>
#include <QUiLoader>

#include <ctkCollapsibleButton.h>
#include <ctkCollapsibleGroupBox.h>
#include <ctkFittedTextBrowser.h>
#include <ctkPathLineEdit.h>
#include <ctkRangeWidget.h>
#include <ctkSliderWidget.h>

#include "mrml_widgets.h"

void PythonQt_init_QtCore(PyObject*);
void PythonQt_init_QtGui(PyObject*);

// What Python can make; CTK writes the same for its classes with ctkWrapPythonQt.py.
#define FOR_EACH_WIDGET(DO)                                                                        \
  DO(ctkCollapsibleButton)                                                                         \
  DO(ctkCollapsibleGroupBox)                                                                       \
  DO(ctkFittedTextBrowser)                                                                         \
  DO(ctkPathLineEdit)                                                                              \
  DO(ctkRangeWidget)                                                                               \
  DO(ctkSliderWidget)                                                                              \
  DO(qMRMLNodeComboBox)                                                                            \
  DO(qMRMLWidget)

#define CONSTRUCTOR(Class)                                                                         \
  Class* new_##Class(QWidget* parent = nullptr)                                                    \
  {                                                                                                \
    return new Class(parent);                                                                      \
  }

class Constructors : public QObject
{
  Q_OBJECT
public Q_SLOTS:
  FOR_EACH_WIDGET(CONSTRUCTOR)
};

QObject* makeConstructors()
{
  return new Constructors;
}

class UiLoader : public QUiLoader
{
public:
  QWidget* createWidget(const QString& name, QWidget* parent, const QString& objectName) override
  {
    QWidget* made = nullptr;
#define MAKE(Class)                                                                                \
  if (name == #Class)                                                                              \
  {                                                                                                \
    made = new Class(parent);                                                                      \
  }
    FOR_EACH_WIDGET(MAKE)
    if (!made)
    {
      return QUiLoader::createWidget(name, parent, objectName);
    }
    made->setObjectName(objectName);
    return made;
  }
};

class Shell : public QObject
{
  Q_OBJECT
public Q_SLOTS:
  QWidget* loadUi(const QString& path)
  {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly))
    {
      qWarning("%s cannot be read", qPrintable(path));
      return nullptr;
    }
    return UiLoader().load(&file);
  }
  void processEvents()
  {
    QCoreApplication::sendPostedEvents(nullptr, QEvent::DeferredDelete);
    QCoreApplication::processEvents();
  }
};

int main(int argc, char** argv)
{
  QApplication application(argc, argv);
  if (argc < 2)
  {
    qWarning("slicer_shell SCRIPT [ARGUMENT ...]");
    return 2;
  }
  PythonQt::init(PythonQt::IgnoreSiteModule);
  PythonQt_init_QtCore(nullptr);
  PythonQt_init_QtGui(nullptr);
#define REGISTER(Class)                                                                            \
  PythonQt::self()->registerClass(&Class::staticMetaObject, "ctk", makeConstructors);
  FOR_EACH_WIDGET(REGISTER)

  Shell shell;
  PythonQtObjectPtr main = PythonQt::self()->getMainModule();
  main.addObject("shell", &shell);
  QStringList arguments;
  for (int i = 1; i < argc; ++i)
  {
    arguments << QString::fromLocal8Bit(argv[i]);
  }
  main.addVariable("arguments", arguments);
  main.evalScript("import sys\n"
                  "sys.argv = list(arguments)\n"
                  "exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'))");
  return PythonQt::self()->hadError() ? 1 : 0;
}

#include "slicer_shell.moc"
